"""Operator processes as the image runs them, several for one namespace, on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.support import forks
from tests.support.apiserver import OPERATOR_TOKEN, OPERATOR_USER
from tests.support.chart import render
from tests.support.cluster import until
from tests.support.plainhttp import NO_TLS
from tests.support.ports import free_ports

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

    from tests.support.apiserver import ApiServer

PATIENCE_SECONDS = 120

LEASE = "chatcluster-operator"

IMPORTED = (
    "chatoperator.logs",
    "chatoperator.operate",
    "chatoperator.metrics.prometheus",
    "tests.support.chatclusters",
)
"""What the processes import, which takes 1.8 s of CPU."""


class Process:
    """One operator process.

    Args:
        kubeconfig: Its way to the API server.
        namespace: Its own, and the one it serves.
        name: Of its pod.
        folder: For its log.
        changed: What its environment has beside.
    """

    def __init__(self, kubeconfig: Path, namespace: str, name: str, folder: Path, changed: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.port, self._metrics_port = free_ports(2)
        self.metrics_url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "CHATOPERATOR_VERSION": "1",
            "CHATOPERATOR_IMAGE_CHATSERVER": "chatserver:1",
            "CHATOPERATOR_IMAGE_POSTGRES": "postgres:1",
            "CHATOPERATOR_IMAGE_HAPROXY": "haproxy:1",
            "CHATOPERATOR_IMAGE_VALKEY": "valkey:1",
            "CHATOPERATOR_NAMESPACE": namespace,
            "CHATOPERATOR_WATCH_NAMESPACES": namespace,
            "CHATOPERATOR_LEASE_NAME": LEASE,
            "CHATOPERATOR_HEALTH_PORT": str(self.port),
            "CHATOPERATOR_METRICS_PORT": str(self._metrics_port),
            "POD_NAME": name,
            **changed,
        }
        environment.pop("KUBERNETES_SERVICE_HOST", None)
        # One that is started anew goes on with its log.
        with self.log.open("ab") as out:
            self._process = forks.begin("tests.support.operator_process", [], environment, out, IMPORTED)

    def health(self) -> tuple[int, str]:
        """What kubelet would hear; 0 while nothing listens."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/healthz", verify=NO_TLS)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text.strip()

    def metrics(self) -> str:
        """What Prometheus would read."""
        return httpx.get(self.metrics_url, verify=NO_TLS).text

    def peak_mib(self) -> float:
        """The most memory that it has had."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (peak,) = [line for line in lines if line.startswith("VmHWM")]
        return int(peak.split()[1]) / 1024

    def says(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        return await asyncio.to_thread(self._process.wait, PATIENCE_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


class Operators:
    """Processes of one namespace, with the rights of the chart and no others."""

    def __init__(self, server: ApiServer, namespace: str, folder: Path) -> None:
        self.server = server
        self.namespace = namespace
        self.admin = server.admin(namespace)
        self._folder = folder
        self._made: list[Process] = []

    def start(self, name: str, kubeconfig: Path | None = None, **changed: str) -> Process:
        """Start one; its way to the API server is the direct one unless another is given."""
        way = kubeconfig or self.server.kubeconfig(OPERATOR_TOKEN, OPERATOR_USER)
        made = Process(way, self.namespace, name, self._folder, changed)
        self._made.append(made)
        return made

    async def kubectl(self, *arguments: str, stdin: Any = None) -> str:
        text = json.dumps(stdin) if stdin is not None else None
        done = await asyncio.to_thread(self.server.run_kubectl, *arguments, "-n", self.namespace, stdin=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def holder(self) -> str:
        lease = await asyncio.to_thread(self.admin.find, "lease", LEASE)
        return str(lease["spec"].get("holderIdentity") or "") if lease else ""

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
        await asyncio.to_thread(self.admin.delete, "Service", service)

        async def there() -> bool:
            return await asyncio.to_thread(self.admin.find, "Service", service) is not None

        return await until(there, f"{service} is back", PATIENCE_SECONDS, poll_seconds=0.2)

    def close(self) -> None:
        for process in self._made:
            process.close()


def allow(server: ApiServer, namespace: str) -> None:
    """Give the operators' user the rights of the chart in one namespace, and no others."""
    made = render(f"watchNamespaces={{{namespace}}}", namespace=namespace)
    rules = [document for document in made if document["kind"] in {"Role", "RoleBinding"}]
    for document in rules:
        if document["kind"] == "RoleBinding":
            document["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}]
    applied = server.run_kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": rules})
    )
    assert applied.returncode == 0, applied.stderr
