"""The documented scrape configuration finds the same targets with the same labels as the chart's PodMonitors.

Both run in one real Prometheus, which finds the pods that the operator and the chart make by files.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from localcluster import programs
from localcluster.progress import Stage
from tests.support import completeness, scrapes
from tests.support.apiserver import process
from tests.support.chart import CHART, render
from tests.support.cluster import ROOT, environment, until
from tests.support.pages import commands
from tests.support.plainhttp import NO_TLS
from tests.support.ports import free_port
from tests.support.prometheus import check, program, wait_ready

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

OURS = ("namespace", "chatcluster", "component", "pod")

Found = set[tuple[str, str, tuple[str, ...]]]
"""Targets as (host and port, path, values of OURS)."""


def pods() -> list[dict[str, Any]]:
    """Every pod of a chat and of the operator, and one that is neither's."""
    chart, chat = render(), completeness.objects()
    made = [document for document in (*chart, *chat) if document["kind"] in {"Deployment", "StatefulSet", "Job"}]
    found = []
    for document in made:
        template = document["spec"]["template"]
        where = {"name": f"{document['metadata']['name']}-0", "namespace": document["metadata"]["namespace"]}
        found.append({"metadata": {**template["metadata"], **where}, "spec": template["spec"]})
    metadata = {"name": "other", "namespace": "chat", "labels": {"app.kubernetes.io/component": "chatserver"}}
    container = {"name": "other", "ports": [{"name": "metrics", "containerPort": 9090}]}
    return [*found, {"metadata": metadata, "spec": {"containers": [container]}}]


async def targets(jobs: list[dict[str, Any]], folder: Path) -> dict[str, Found]:
    """What a real Prometheus scrapes, by job."""
    configuration = {"global": {"scrape_interval": "1h"}, "scrape_configs": scrapes.with_files(jobs, pods(), folder)}
    text = yaml.safe_dump(configuration)
    assert check("config", text) == ""
    (folder / "prometheus.yml").write_text(text)
    port = free_port()
    log = folder / "prometheus.log"
    arguments = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    with process(log, program("prometheus"), *arguments, f"--web.listen-address=127.0.0.1:{port}"):
        wait_ready(f"http://127.0.0.1:{port}/-/ready", log)
        return await _listed(port, {job["job_name"] for job in jobs})


async def _listed(port: int, jobs: set[str]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as client:

        async def all_jobs() -> bool:
            answer = (await client.get(f"http://127.0.0.1:{port}/api/v1/targets?state=active")).json()
            found.clear()
            for one in answer["data"]["activeTargets"]:
                url = urlsplit(one["scrapeUrl"])
                labels = tuple(one["labels"].get(name, "") for name in OURS)
                found.setdefault(one["scrapePool"], set()).add((url.netloc, url.path, labels))
            return found.keys() == jobs

        await until(all_jobs, f"targets of {sorted(jobs)}", 30, 0.2, otherwise=lambda: str(found))
    return found


async def test_both_find_the_same_targets_with_the_same_labels(tmp_path: Path) -> None:
    monitors = [one for one in render("monitoring.podMonitors.enabled=true") if one["kind"] == "PodMonitor"]
    by_monitors = [job for monitor in monitors for job in scrapes.of_monitor(monitor)]
    documented = scrapes.documented()
    found = await targets([*documented, *by_monitors], tmp_path)
    names = {job["job_name"] for job in documented}
    by_page = set().union(*(found[name] for name in names))
    by_chart = set().union(*(listed for name, listed in found.items() if name not in names))
    assert by_page == by_chart
    components = sorted(labels[2] for _, _, labels in by_page)
    assert components == ["backup", "bus", "chatserver", "database", "ingress", "operator", "probe"]
    assert {labels[1] for _, _, labels in by_page} == {"demo", ""}


def test_both_treat_the_labels_of_the_series_alike() -> None:
    monitors = [one for one in render("monitoring.podMonitors.enabled=true") if one["kind"] == "PodMonitor"]
    by_monitors = [job for monitor in monitors for job in scrapes.of_monitor(monitor)]

    def treated(job: dict[str, Any]) -> str:
        rules = [{"action": "replace", **rule} for rule in job.get("metric_relabel_configs", ())]
        return str((bool(job.get("honor_labels")), [sorted(rule.items(), key=str) for rule in rules]))

    assert {treated(job) for job in by_monitors} == {treated(job) for job in scrapes.documented()}
    sent = [{str(job["params"]) for job in jobs if "params" in job} for jobs in (by_monitors, scrapes.documented())]
    assert sent[0] == sent[1], "what HAProxy pods of another release need, the same from both"


def test_the_rules_that_helm_makes_for_a_plain_prometheus_are_valid(tmp_path: Path) -> None:
    (command,) = commands(scrapes.PAGE, "With a plain Prometheus")
    (tmp_path / "charts").symlink_to(CHART.parent)
    helm = programs.helm(Stage("helm"), tmp_path / "build.log")
    path = f"{helm.parent}{os.pathsep}{environment()['PATH']}"
    script = f"set -euo pipefail\ncd {tmp_path}\n{command}"
    done = subprocess.run(
        ["bash", "-c", script], env=environment() | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "chatcluster-rules.yaml").read_text()
    assert check("rules", text) == ""
    assert "vector(99.5 / 100)" in text


def test_alertmanager_accepts_the_documented_routes_with_the_charts_inhibitions(tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    inhibitions = ROOT / "charts" / "chatcluster-operator" / "monitoring" / "inhibit_rules.yaml"
    path.write_text(scrapes.block("route:") + inhibitions.read_text())
    done = subprocess.run([program("amtool"), "check-config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "inhibit rules" in done.stdout
