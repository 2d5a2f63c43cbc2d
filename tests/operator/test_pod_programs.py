"""What the operator and the programs in its pods have to agree on: ports, paths, files, keys, metrics, users."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client import generate_latest

from chatoperator import controller
from chatoperator.desired.manifests import render
from chatoperator.observed import Reading
from chatoperator.parts.chatserver import deployment
from chatoperator.parts.database import logins, statefulset
from chatoperator.parts.pod import POSTGRES_USER_ID, SERVICE_USER_ID
from chatoperator.probes import parsing, prober
from chatoperator.probes.connection import session
from chatserver.apidocs.openapi import make_openapi
from chatserver.metrics import METRICS_PATH, Metrics, MetricsServer, page
from chatserver.routes import CALLS
from crds.metrics import sample_names
from postgresagent import __main__ as agent
from postgresagent import configuration, report, roles
from tests.support.chatclusters import cluster, desired
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFESTS = render(desired(cluster()))

PATHS = msgspec.json.decode(msgspec.json.encode(make_openapi(CALLS)))["paths"]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def containers(kind: str, name: str) -> dict[str, Any]:
    pod = manifest(kind, name)["spec"]["template"]["spec"]
    return {one["name"]: one for one in pod["containers"]}


def probed() -> Iterator[str]:
    """Paths that kubelet and the operator request of a chatserver."""
    server = containers("Deployment", "demo-chatserver")["chatserver"]
    yield from (server[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe"))
    yield prober.ANSWER_PATH


@pytest.mark.parametrize("target", sorted(set(probed())))
def test_a_chatserver_has_each_path_that_is_probed(target: str) -> None:
    path, _, query = target.partition("?")
    if query:
        name, _, value = query.partition("=")
        (parameter,) = [one for one in PATHS[path]["get"]["parameters"] if one["name"] == name]
        assert value in parameter["schema"]["enum"]
    assert "get" in PATHS[path]


def test_the_metrics_of_a_chatserver_are_a_reading() -> None:
    made = Metrics()
    made.connections.open.set(3)
    assert parsing.parse_reading(generate_latest(made.registry).decode()) == Reading(
        3, draining=False, login=None, hears_bus=False
    )
    assert prober.METRICS_TARGET.partition("?")[0] == METRICS_PATH


async def test_only_the_metrics_that_are_read_are_requested_of_a_chatserver(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Metrics()
    made.connections.open.set(3)
    made.database.show_login("chat_a")
    server = MetricsServer(made.registry, "127.0.0.1", 0)
    server.start()
    monkeypatch.setattr(prober, "METRICS_PORT", server.port)
    pages: list[str] = []

    def parse(page: str) -> Reading | None:
        pages.append(page)
        return parsing.parse_reading(page)

    monkeypatch.setattr(prober, "parse_reading", parse)
    monkeypatch.setattr(prober, "COUNTS", re.compile(rb""))
    try:
        async with session() as made_session:
            found = await prober.Prober(made_session).readings({"a": "127.0.0.1"})
    finally:
        await asyncio.to_thread(server.stop)
    assert found == {"a": Reading(3, draining=False, login="chat_a", hears_bus=False)}
    (text,) = pages
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == set(parsing.READ_METRICS)
    assert set(parsing.READ_METRICS) <= sample_names()


def test_a_server_that_drains_waits_for_the_next_reading_of_the_operator() -> None:
    assert page.READ_LATELY_SECONDS > 2 * controller.DRAIN_READ_SECONDS
    assert page.LAST_READ_SECONDS > controller.DRAIN_READ_SECONDS


def test_connections_that_a_drain_closed_are_read_and_others_are_not() -> None:
    page = """\
# TYPE chatserver_connections gauge
chatserver_connections 4.0
# TYPE chatserver_draining gauge
chatserver_draining 1.0
# TYPE chatserver_connections_closed_total counter
chatserver_connections_closed_total{code="1012",reason="restart"} 7.0
chatserver_connections_closed_total{code="1000",reason="client"} 9.0
"""
    kept = "\n".join(line for line in page.splitlines() if parsing.COUNTS.match(line.encode())) + "\n"
    assert parsing.parse_reading(kept) == Reading(4, draining=True, forced_closes=7)


def test_the_status_of_the_postgresql_agent_is_a_report(tmp_path: Path) -> None:
    status = agent.make({"PGDATA": str(tmp_path)}).status()
    assert parsing.parse_report(json.dumps(status)) is not None
    assert parsing.parse_report(json.dumps({})) is None
    assert (statefulset.AGENT_PORT, statefulset.AGENT_STATUS_PATH) == (agent.PORT, report.STATUS_PATH)


def test_the_postgresql_agent_reads_the_files_that_are_mounted(tmp_path: Path) -> None:
    made = agent.make({"PGDATA": str(tmp_path)})
    mounted = {
        mount["mountPath"]
        for one in containers("StatefulSet", "demo-postgres").values()
        for mount in one["volumeMounts"]
    }
    assert {str(made.secret), str(made._places.candidate), str(agent.SOCKETS)} <= mounted
    assert (statefulset.CONFIG_FILE, statefulset.REVISION_KEY) == (configuration.FILE, configuration.REVISION_KEY)
    assert manifest("ConfigMap", "demo-postgres")["data"].keys() == {configuration.FILE, configuration.REVISION_KEY}


def test_the_postgresql_agent_understands_the_secret_of_the_database(tmp_path: Path) -> None:
    data = manifest("Secret", "demo-database")["data"]
    for key, value in data.items():
        (tmp_path / key).write_bytes(base64.b64decode(value))
    read = roles.desired(tmp_path)
    assert (read.owner, set(read.passwords)) == (logins.OWNER, {"chat_a", "chat_b"})
    assert read.revision == base64.b64decode(data["revision"]).decode()


def test_images_run_as_the_users_of_the_pods() -> None:
    users = set(re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    assert users == {(str(user), str(user)) for user in (SERVICE_USER_ID, POSTGRES_USER_ID)}


def test_images_expose_the_ports_of_the_containers() -> None:
    exposed = {
        int(port)
        for line in re.findall(r"^EXPOSE (.*)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
        for port in line.split()
    }
    assert {deployment.HTTP_PORT, deployment.METRICS_PORT, statefulset.PORT} <= exposed
