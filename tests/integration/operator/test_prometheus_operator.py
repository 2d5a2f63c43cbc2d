"""The Prometheus Operator itself accepts the chart's PodMonitors and PrometheusRule, and rejects what is invalid.

It is built from its Go module the first time, for some minutes, so this is in `make soak`.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import crds, prometheusoperator, scrapes
from tests.support.chart import CHART, render
from tests.support.cluster import until
from tests.support.plainhttp import NO_TLS
from tests.support.prometheus import check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(3600)]

PATIENCE_SECONDS = 60

SYSTEM = "chatcluster-system"

VALUES = (
    *("monitoring.podMonitors.enabled=true", "monitoring.podMonitors.labels.release=kube-prometheus-stack"),
    *("monitoring.rules.enabled=true", "monitoring.rules.labels.release=kube-prometheus-stack"),
)

INVALID: list[dict[str, Any]] = [
    {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "spec": {
            "selector": {"matchLabels": {"app": "other"}},
            "podMetricsEndpoints": [{"port": "metrics", "relabelings": [{"action": "keep", "regex": "("}]}],
        },
    },
    {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "spec": {"groups": [{"name": "other", "rules": [{"alert": "Other", "expr": "sum("}]}]},
    },
]
"""The API server stores them; whether they work, only the Prometheus Operator knows."""

OWN_LABELS = {"__tmp_prometheus_job_name", "__tmp_hash", "__tmp_disable_sharding", "job", "endpoint"}
"""What the Prometheus Operator sets and reads beside the labels that the chart and the documentation have."""


class Running:
    """The Prometheus Operator on the API server, with the chart's objects.

    Args:
        server: Where they are.
        page: URL of the operator's own metrics.
    """

    def __init__(self, server: ApiServer, page: str) -> None:
        self._server = server
        self._page = page

    def apply(self, *manifests: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        done = self._server.run_kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(listed))
        assert done.returncode == 0, done.stderr

    def get(self, kind: str, namespace: str, *arguments: str) -> list[dict[str, Any]]:
        done = self._server.run_kubectl("get", kind, "-n", namespace, "-o", "json", *arguments)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return found

    def counted(self) -> dict[tuple[str, str], float]:
        """By kind and state, how many objects the Prometheus Operator has selected and rejected."""
        families = text_string_to_metric_families(httpx.get(self._page, verify=NO_TLS, trust_env=False).text)
        return {
            (sample.labels["resource"], sample.labels["state"]): sample.value
            for family in families
            for sample in family.samples
            if sample.name == "prometheus_operator_managed_resources" and sample.labels["controller"] == "prometheus"
        }

    async def counts(self, expected: dict[tuple[str, str], float]) -> None:
        """Wait until the Prometheus Operator counts so many objects."""
        found: dict[tuple[str, str], float] = {}

        async def as_expected() -> bool:
            found.update(self.counted())
            return found.items() >= expected.items()

        await until(as_expected, f"it counts {expected}", PATIENCE_SECONDS, 0.2, otherwise=lambda: str(found))

    def jobs(self) -> list[dict[str, Any]]:
        """What its Prometheus is to scrape."""
        name = f"--field-selector=metadata.name=prometheus-{prometheusoperator.NAME}"
        (secret,) = self.get("secrets", prometheusoperator.NAMESPACE, name)
        found: list[dict[str, Any]] = prometheusoperator.configuration(secret)["scrape_configs"]
        return found

    def rules(self) -> dict[str, str]:
        """The rule files of its Prometheus."""
        return prometheusoperator.rule_files([*self.get("configmaps", prometheusoperator.NAMESPACE)])

    def rejections(self) -> list[str]:
        """Names of the objects that it has rejected, as its events tell."""
        return sorted(
            event["involvedObject"]["name"]
            for event in self.get("events", SYSTEM)
            if event["reason"] == "InvalidConfiguration"
        )


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    """The monitors and rules of the chart."""
    return [one for one in render(*VALUES) if one["apiVersion"] == "monitoring.coreos.com/v1"]


@pytest.fixture(scope="module")
def running(
    server: ApiServer, objects: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("prometheus-operator")
    names = (SYSTEM, prometheusoperator.NAMESPACE)
    with ExitStack() as stack:
        for file in prometheusoperator.KINDS:
            stack.enter_context(crds.installed(server, prometheusoperator.MODULE, file))
        made = Running(server, stack.enter_context(prometheusoperator.operating(server.kubeconfig(), folder)))
        made.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names))
        made.apply(*objects, prometheusoperator.prometheus())
        yield made
    # Nobody collects what belonged to the Prometheus.
    left = "statefulsets,services,secrets,configmaps"
    server.run_kubectl("delete", left, "--all", "-n", prometheusoperator.NAMESPACE, "--wait=false")


def _explicit(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Relabelings with their action, which Prometheus takes for granted."""
    return [{"action": "replace", **rule} for rule in rules]


def _deciding(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The relabelings of a job that decide which pods it scrapes, and under which labels of ours."""
    rules = _explicit(job["relabel_configs"])
    return [rule for rule in rules if OWN_LABELS.isdisjoint({rule.get("target_label"), *rule.get("source_labels", ())})]


async def test_every_monitor_becomes_a_job_that_scrapes_what_the_tests_assume(
    running: Running, objects: list[dict[str, Any]]
) -> None:
    monitors = [one for one in objects if one["kind"] == "PodMonitor"]
    await running.counts({("PodMonitor", "selected"): len(monitors), ("PodMonitor", "rejected"): 0})
    assumed = {job["job_name"]: job for monitor in monitors for job in scrapes.of_monitor(monitor)}

    async def written() -> bool:
        return {job["job_name"] for job in running.jobs()} == assumed.keys()

    await until(written, f"jobs for {sorted(assumed)}", PATIENCE_SECONDS, 0.2)
    for job in running.jobs():
        ours = assumed[job["job_name"]]
        assert _deciding(job) == _deciding(ours)
        metrics = [_explicit(one.get("metric_relabel_configs", [])) for one in (job, ours)]
        assert metrics[0] == metrics[1]
        for field in ("honor_labels", "kubernetes_sd_configs", "params", "metrics_path"):
            assert (field, job.get(field) or None) == (field, ours.get(field) or None)


async def test_every_rule_arrives_as_the_chart_has_it(running: Running) -> None:
    await running.counts({("PrometheusRule", "selected"): 1, ("PrometheusRule", "rejected"): 0})

    async def written() -> bool:
        return len(running.rules()) == 1

    await until(written, "a file of rules", PATIENCE_SECONDS, 0.2)
    (text,) = running.rules().values()
    assert check("rules", text) == ""
    chart = yaml.load((CHART / "monitoring" / "rules.yaml").read_text(), yaml.CSafeLoader)
    assert yaml.load(text, yaml.CSafeLoader) == chart


async def test_the_prometheus_is_reconciled_and_nothing_of_the_charts_is_rejected(running: Running) -> None:
    async def reconciled() -> bool:
        (found,) = running.get("prometheuses", prometheusoperator.NAMESPACE)
        conditions = found.get("status", {}).get("conditions", [])
        return any(one["type"] == "Reconciled" and one["status"] == "True" for one in conditions)

    await until(reconciled, "the Prometheus is Reconciled", PATIENCE_SECONDS, 0.2)
    assert running.rejections() == []


async def test_what_is_invalid_is_rejected_and_leaves_the_charts_objects_alone(
    running: Running, objects: list[dict[str, Any]]
) -> None:
    """So the tests before it would have noticed a rejection."""
    before, rules = running.jobs(), running.rules()
    metadata = {"name": "invalid", "namespace": SYSTEM, "labels": prometheusoperator.SELECTED["matchLabels"]}
    running.apply(*({**one, "metadata": metadata} for one in INVALID))
    monitors = sum(one["kind"] == "PodMonitor" for one in objects)
    await running.counts(
        {
            ("PodMonitor", "selected"): monitors + 1,
            ("PodMonitor", "rejected"): 1,
            ("PrometheusRule", "rejected"): 1,
        }
    )

    async def reported() -> bool:
        return set(running.rejections()) == {"invalid"}

    await until(reported, "events name both", PATIENCE_SECONDS, 0.2, otherwise=lambda: str(running.rejections()))
    assert running.jobs() == before
    assert running.rules() == rules
