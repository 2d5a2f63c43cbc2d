"""The kubectl plugin on a real API server, with what the operator made there; only kubelet is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.metrics import Metrics, MetricsServer
from tests.support.findings import tell
from tests.support.operators import pod_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

CANARY = "kanarienvogel-7391"

READER = "reader"
"""Sees what the role `view` shows, and ChatClusters: no Secret."""


class Plugin:
    """`kubectl chatcluster` as a user types it: kubectl finds the plugin on the PATH."""

    def __init__(self, operator: Operator, folder: Path) -> None:
        self.operator = operator
        self.folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", "chatcluster", *arguments, "-n", self.operator.namespace],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        server = self.operator.server
        path = f"{server.kubectl.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "KUBECONFIG": str(server.kubeconfig())}

    def told(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        tell(f"$ kubectl chatcluster {' '.join(arguments)}\n{done.stdout}")
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 1, done.stdout
        tell(f"$ kubectl chatcluster {' '.join(arguments)}\n{done.stderr}")
        return done.stderr


@pytest.fixture
def plugin(operator: Operator, tmp_path: Path) -> Plugin:
    return Plugin(operator, tmp_path)


@contextlib.contextmanager
def _serving(metrics: Metrics) -> Iterator[tuple[str, int]]:
    """A chatserver's own metrics page where the API server's proxy reaches it: it refuses loopback addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        # Sends nothing: it only asks which address would be used.
        asking.connect(("198.51.100.1", 9))
        address = str(asking.getsockname()[0])
    page = MetricsServer(metrics.registry, address, 0)
    page.start()
    try:
        yield address, page.port
    finally:
        page.stop()


def _server(operator: Operator, name: str, address: str, port: int) -> None:
    """A ready chatserver on a node without a kubelet, whose metrics are at this address."""
    deployment = operator.admin.get("deployment", "demo-chatserver")
    template = deployment["spec"]["template"]
    container = template["spec"]["containers"][0]
    container["ports"] = [
        {**one, **({"containerPort": port} if one["name"] == "metrics" else {})} for one in container["ports"]
    ]
    metadata = {"name": name, "labels": template["metadata"]["labels"], "ownerReferences": [pod_owner(deployment)]}
    spec = {**template["spec"], "nodeName": "node-1"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    operator.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    operator.patch_status("pod", name, status)


def _budget(operator: Operator, allowed: int) -> None:
    """What the disruption controller, which does not run here, finds."""
    live = operator.admin.get("pdb", "demo-chatserver")
    status = {
        "observedGeneration": live["metadata"]["generation"],
        "disruptionsAllowed": allowed,
        "currentHealthy": 1 + allowed,
        "desiredHealthy": 1,
        "expectedPods": 2,
    }
    operator.patch_status("pdb", "demo-chatserver", status)


async def test_status_and_connections_tell_what_is_there(operator: Operator, plugin: Plugin) -> None:
    await operator.brought_up()
    metrics = Metrics()
    metrics.connections.open.set(31)
    with _serving(metrics) as (address, port):
        _server(operator, "demo-chatserver-a", address, port)
        done = plugin.run("status")
        assert done.returncode == 1, "exit status 1 while the ChatCluster is not Ready"
        tell(f"$ kubectl chatcluster status\n{done.stdout}")
        assert re.search(r"^NOT READY for \d+s: ", done.stdout, re.MULTILINE)
        assert re.search(r"^  Ready +False ", done.stdout, re.MULTILINE)
        assert re.search(r"^  demo-chatserver-a +ready +31 +\d+s +0 +node-1$", done.stdout, re.MULTILINE)
        assert "volume demo-postgres-data: Pending, 10Gi" in done.stdout
        assert "postgres: postgres:1" in done.stdout
        assert "Could not be read" not in done.stdout
        made = json.loads(plugin.run("status", "demo", "-o", "json").stdout)
        assert made["ready"] is False
        assert made["readings"] == {"demo-chatserver-a": {"connections": 31, "draining": False}}
        counted = plugin.told("connections")
        assert re.search(r"^demo-chatserver-a +31 +100\.0 % +no +\d+s$", counted, re.MULTILINE)
        assert "target 10000 per server" in counted


async def test_a_wrong_name_or_namespace_lists_what_there_is(operator: Operator, plugin: Plugin) -> None:
    assert f"there is no ChatCluster in namespace {operator.namespace}" in plugin.refused("status")
    await operator.brought_up()
    assert f"demo -n {operator.namespace}" in plugin.refused("status", "dmeo")
    assert "there is no pod nobody" in plugin.refused("drain", "nobody")


async def test_drain_keeps_to_the_disruption_budget_and_to_chatservers(operator: Operator, plugin: Plugin) -> None:
    await operator.brought_up()
    stranger = {"name": "stranger", "image": "i"}
    with _serving(Metrics()) as (address, port):
        _server(operator, "demo-chatserver-a", address, port)
        _budget(operator, 0)
        said = plugin.refused("drain", "demo-chatserver-a")
        assert "PodDisruptionBudget demo-chatserver needs 1 healthy servers, has 1, and allows 0 evictions now" in said
        assert "Try again when all servers are ready" in said
        security = operator.admin.get("pod", "demo-chatserver-a")["spec"]
        strange = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "stranger"},
            "spec": {
                "containers": [{**stranger, "securityContext": security["containers"][0]["securityContext"]}],
                "securityContext": security["securityContext"],
            },
        }
        operator.kubectl("create", "-f", "-", stdin=json.dumps(strange))
        assert "does not belong to a ChatCluster" in plugin.refused("drain", "stranger")
        live = json.loads(operator.kubectl("get", "pods", "-o", "json"))["items"]
        assert [pod["metadata"].get("deletionTimestamp") for pod in live] == [None, None]
        _budget(operator, 1)
        said = plugin.refused("drain", "demo-chatserver-a", "--timeout=1s")
        assert "demo-chatserver-a has not stopped after 1 s, with 0 connections when it last answered" in said
        assert "run the same command again" in said
        assert "is already stopping" in plugin.run("drain", "demo-chatserver-a", "--timeout=1s").stdout


async def test_drain_follows_a_server_until_its_clients_have_moved(operator: Operator, plugin: Plugin) -> None:
    await operator.brought_up()
    leaving, staying = Metrics(), Metrics()
    leaving.connections.open.set(5)
    staying.connections.open.set(20)
    with _serving(leaving) as (address, port), _serving(staying) as (_, other):
        _server(operator, "demo-chatserver-a", address, port)
        _server(operator, "demo-chatserver-b", address, other)
        _budget(operator, 1)
        process = await asyncio.create_subprocess_exec(
            *("kubectl", "chatcluster", "drain", "demo-chatserver-a", "-n", operator.namespace),
            env=plugin.environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        told = [(await process.stdout.readline()).decode()]
        leaving.connections.open.set(2)
        staying.connections.open.set(25)
        told.append((await process.stdout.readline()).decode())
        # What kubelet does when the process has ended.
        operator.kubectl("delete", "pod", "demo-chatserver-a", "--force", "--grace-period=0")
        told += (await process.stdout.read()).decode().splitlines(keepends=True)
        assert await process.wait() == 0
    tell("$ kubectl chatcluster drain demo-chatserver-a\n" + "".join(told))
    assert told[0].startswith("evicting demo-chatserver-a, with 5 clients")
    assert told[1].strip().endswith("2 connections left")
    assert "1 other servers are ready and hold 25 connections" in told[2]
    assert told[3].startswith("Deployment demo-chatserver creates a new server")


async def test_a_bundle_of_who_may_see_no_secrets_holds_all_else(operator: Operator, plugin: Plugin) -> None:
    operator.chatcluster["metadata"]["annotations"] = {
        "example.com/note": f"was postgresql://chat:{CANARY}@old:5432/chat, call +14155550101"
    }
    await operator.brought_up()
    secret = operator.admin.get("secret", "demo-database")["data"]
    metrics = Metrics()
    with _serving(metrics) as (address, port):
        _server(operator, "demo-chatserver-a", address, port)
        _allow_reader(operator)
        asked_before = operator.server.audit_end()
        said = plugin.told("support-bundle", f"--as={READER}", "--output", "b.tar.gz")
    assert ", without secrets, to b.tar.gz; " in said
    files = _unpacked(plugin.folder / "b.tar.gz")
    tell("\n".join(sorted(files)))
    whole = "".join(files.values())
    assert CANARY not in whole
    assert "5550101" not in whole
    assert not [key for key, value in secret.items() if key in {"password", "dsn"} and value in whole]
    assert "postgresql://chat:[redacted]@old" in files["chatcluster.json"]
    assert json.loads(files["secrets.json"])["demo-database"] == ["dsn"]
    assert "chatserver_connections 0.0" in files["metrics/demo-chatserver-a.txt"]
    assert {one["metadata"]["name"] for one in json.loads(files["children/deployments.json"])} >= {"demo-chatserver"}
    assert "pods of the operator: you are not allowed to list pods in the whole cluster" in files["missing.txt"]
    assert "log of demo-chatserver-a" in files["missing.txt"], "no kubelet runs here"
    asked, _ = operator.server.audit_from(asked_before, '"impersonatedUser"')
    assert asked
    assert not [entry for entry in asked if entry.get("objectRef", {}).get("resource") == "secrets"]
    assert {entry["verb"] for entry in asked} <= {"get", "list"}, "a bundle changes nothing"
    assert (
        "already exists; choose another file with --output"
        in plugin.run("support-bundle", "--output", "b.tar.gz").stderr
    )


def _allow_reader(operator: Operator) -> None:
    rules: list[dict[str, Any]] = [
        {"apiGroups": ["chatcluster.io"], "resources": ["chatclusters"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]},
    ]
    group = "rbac.authorization.k8s.io"
    subjects = [{"apiGroup": group, "kind": "User", "name": READER}]
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": READER}, "rules": rules}
    for manifest in (
        role,
        *(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                # What `view` is made of: the controller that puts it together does not run here.
                "metadata": {"name": f"{READER}-{kind.lower()}"},
                "roleRef": {"apiGroup": group, "kind": kind, "name": name},
                "subjects": subjects,
            }
            for kind, name in (("Role", READER), ("ClusterRole", "system:aggregate-to-view"))
        ),
    ):
        operator.kubectl("create", "-f", "-", stdin=json.dumps(manifest))


def _unpacked(path: Path) -> dict[str, str]:
    """Contents by path below the bundle's one folder."""
    assert path.stat().st_mode & 0o077 == 0
    found = {}
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member)
            assert content is not None
            found[member.name.partition("/")[2]] = content.read().decode()
    return found


async def test_who_may_see_nothing_hears_which_right_is_missing(operator: Operator, plugin: Plugin) -> None:
    await operator.brought_up()
    said = plugin.refused("status", "demo", "--as=stranger")
    assert f"you are not allowed to get chatclusters.chatcluster.io in namespace {operator.namespace}" in said
