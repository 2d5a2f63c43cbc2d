"""Two operator processes and a Lease on a real API server: one reconciles, the other takes over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.apiserver import OPERATOR_TOKEN, OPERATOR_USER, free_ports
from tests.support.chart import render
from tests.support.cluster import ROOT, until
from tests.support.findings import tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

TAKEN_OVER_SECONDS = 20
"""The standby reconciles within it after the leader was killed: the promise to the admin."""

PATIENCE_SECONDS = 60

LEASE = "chatcluster-operator"


class Process:
    """One operator process."""

    def __init__(self, server: ApiServer, namespace: str, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        (self.port,) = free_ports(1)
        environment = {
            **os.environ,
            "KUBECONFIG": str(server.kubeconfig(OPERATOR_TOKEN, OPERATOR_USER)),
            "CHATOPERATOR_VERSION": "1",
            "CHATOPERATOR_IMAGE_CHATSERVER": "chatserver:1",
            "CHATOPERATOR_IMAGE_POSTGRES": "postgres:1",
            "CHATOPERATOR_IMAGE_HAPROXY": "haproxy:1",
            "CHATOPERATOR_NAMESPACE": namespace,
            "CHATOPERATOR_WATCH_NAMESPACE": namespace,
            "CHATOPERATOR_LEASE_NAME": LEASE,
            "CHATOPERATOR_HEALTH_PORT": str(self.port),
            "POD_NAME": name,
        }
        environment.pop("KUBERNETES_SERVICE_HOST", None)
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.operator_process"],
                cwd=ROOT, env=environment, stdout=out, stderr=out,
            )  # fmt: skip

    def health(self) -> tuple[int, str]:
        """What kubelet would hear; 0 while nothing listens."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/healthz")
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text.strip()

    def says(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        return await asyncio.to_thread(self._process.wait, PATIENCE_SECONDS)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


class Operators:
    """Processes of one namespace, with the rights of the chart and no others."""

    def __init__(self, server: ApiServer, namespace: str, folder: Path) -> None:
        self.server = server
        self.namespace = namespace
        self._folder = folder
        self._made: list[Process] = []

    def start(self, name: str) -> Process:
        made = Process(self.server, self.namespace, name, self._folder)
        self._made.append(made)
        return made

    async def kubectl(self, *arguments: str, stdin: Any = None) -> str:
        text = json.dumps(stdin) if stdin is not None else None
        done = await asyncio.to_thread(self.server.run_kubectl, *arguments, "-n", self.namespace, stdin=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def holder(self) -> str:
        printed = await self.kubectl(
            "get", "lease", LEASE, "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}"
        )
        return printed.strip()

    async def leads(self, process: Process) -> float:
        async def leading() -> bool:
            return process.says("leading") and await self.holder() == process.name

        return await until(leading, f"{process.name} leads", PATIENCE_SECONDS, poll_seconds=0.2)

    async def stands_by(self, process: Process) -> None:
        async def standing() -> bool:
            return await asyncio.to_thread(process.health) == (200, "standing by") and process.says("standing by")

        await until(standing, f"{process.name} stands by", PATIENCE_SECONDS, poll_seconds=0.2)

    async def comes_back(self, service: str) -> float:
        """Delete a child and wait until it exists again."""
        await self.kubectl("delete", "service", service)

        async def there() -> bool:
            return bool((await self.kubectl("get", "service", service, "--ignore-not-found", "-o", "name")).strip())

        return await until(there, f"{service} is back", PATIENCE_SECONDS, poll_seconds=0.2)

    def close(self) -> None:
        for process in self._made:
            process.close()


@pytest.fixture
def operators(server: ApiServer, namespace: str, tmp_path: Path) -> Iterator[Operators]:
    made = render(f"watchNamespace={namespace}", namespace=namespace)
    rules = [document for document in made if document["kind"] in {"Role", "RoleBinding"}]
    for document in rules:
        if document["kind"] == "RoleBinding":
            document["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}]
    applied = server.run_kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": rules})
    )
    assert applied.returncode == 0, applied.stderr
    operators = Operators(server, namespace, tmp_path)
    yield operators
    operators.close()


async def test_a_standby_lives_and_goes_on_when_the_leader_is_killed(
    operators: Operators, minimal: dict[str, Any]
) -> None:
    first = operators.start("operator-a")
    await operators.leads(first)
    second = operators.start("operator-b")
    await operators.stands_by(second)
    await operators.kubectl("create", "-f", "-", stdin=minimal)

    async def made() -> bool:
        return "demo-ingress" in await operators.kubectl("get", "services", "-o", "name")

    await until(made, "the leader has made the children", PATIENCE_SECONDS, poll_seconds=0.2)
    assert first.health()[1].startswith("the last sweep was")
    status, words = second.health()
    assert (status, words) == (200, "standing by"), "a standby is live however long it waits"

    first.send(signal.SIGKILL)
    killed = await operators.comes_back("demo-chatserver")
    assert await operators.holder() == second.name
    tell(f"the leading operator killed with -9: the standby reconciled after {killed:.1f} s")
    assert killed < TAKEN_OVER_SECONDS

    third = operators.start("operator-c")
    await operators.stands_by(third)
    second.send(signal.SIGTERM)
    stopped = await operators.leads(third)
    assert await second.ended() == 0
    await operators.comes_back("demo-chatserver")
    tell(f"the leading operator told to stop: the standby led after {stopped:.1f} s")
    _the_rights_to_leases_are_used(operators.server, operators.namespace)
    refused = [
        entry["requestURI"]
        for entry in operators.server.audit()
        if entry["user"]["username"] == OPERATOR_USER
        and f"/namespaces/{operators.namespace}/" in entry["requestURI"]
        and entry["responseStatus"]["code"] == httpx.codes.FORBIDDEN
    ]
    assert refused == []


def _the_rights_to_leases_are_used(server: ApiServer, namespace: str) -> None:
    """The rights to Leases that the processes used are those that the chart gives."""
    used = {
        entry["verb"]
        for entry in server.audit()
        if entry["user"]["username"] == OPERATOR_USER
        and entry.get("objectRef", {}).get("resource") == "leases"
        and entry["objectRef"].get("namespace") == namespace
    }
    (role,) = [
        document
        for document in render(namespace=namespace)
        if document["kind"] == "Role" and document["metadata"]["name"].endswith("-lease")
    ]
    assert used == {verb for rule in role["rules"] for verb in rule["verbs"]}


async def test_a_leader_that_lost_its_lease_ends(operators: Operators) -> None:
    leader = operators.start("operator-a")
    await operators.leads(leader)
    await operators.kubectl(
        "patch", "lease", LEASE, "--type=merge", "-p",
        '{"spec":{"holderIdentity":"somebody-else","leaseDurationSeconds":3600}}',
    )  # fmt: skip
    assert await leader.ended() == 3
    assert leader.says("lost the lease")


async def test_a_standby_hears_that_it_should_stop(operators: Operators) -> None:
    leader = operators.start("operator-a")
    await operators.leads(leader)
    standby = operators.start("operator-b")
    await operators.stands_by(standby)
    standby.send(signal.SIGTERM)
    assert await standby.ended() == 0
    assert await operators.holder() == leader.name


async def test_a_process_started_anew_in_the_same_pod_need_not_wait(operators: Operators) -> None:
    first = operators.start("operator-a")
    await operators.leads(first)
    first.send(signal.SIGKILL)
    await first.ended()
    again = operators.start("operator-a")
    tell(f"the operator's container restarted: it led again after {await operators.leads(again):.1f} s")
