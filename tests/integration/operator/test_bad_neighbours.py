"""One bad ChatCluster among many: too deep, too wide, failing all the time. The others are served all the same."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator.metadata import KIND
from tests.support.apiproxy import ApiProxy, Fault, is_write
from tests.support.apiserver import OPERATOR_TOKEN, OPERATOR_USER
from tests.support.cluster import ROOT, until
from tests.support.findings import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer
    from tests.support.operator_processes import Operators

PATIENCE_SECONDS = 120

MEMORY_MAX_MIB = 300
"""The chart's limit is 512; without any ChatCluster the process has about 100."""

CRD = ROOT / "crds" / "chatcluster.yaml"

DEEPEST = 9_990
"""Levels; an API server takes 10,000 with those around them."""


class Chats:
    """ChatClusters of one namespace and their operator."""

    def __init__(self, kube: Kube, operators: Operators, minimal: dict[str, Any]) -> None:
        self.kube = kube
        self.operators = operators
        self.namespace = operators.namespace
        self._minimal = minimal

    async def create(self, name: str) -> None:
        made = {**self._minimal, "metadata": {"name": name, "namespace": self.namespace}}
        await asyncio.to_thread(self.operators.admin.create, made)

    async def served(self, name: str, what: str) -> float:
        """Wait until a child that was deleted is back."""

        async def there() -> bool:
            return await self.kube.get("Service", self.namespace, f"{name}-ingress") is not None

        return await until(there, what, PATIENCE_SECONDS, poll_seconds=0.1)

    async def repaired(self, name: str) -> float:
        await asyncio.to_thread(self.operators.admin.delete, "Service", f"{name}-ingress")
        return await self.served(name, f"{name}'s deleted Service is back")

    async def reason(self, name: str) -> str:
        """Of Progressing, with its message."""
        live = await self.kube.get(KIND, self.namespace, name) or {}
        found = [c for c in (live.get("status") or {}).get("conditions", []) if c["type"] == "Progressing"]
        return f"{found[0]['reason']}: {found[0]['message']}" if found else ""


@pytest.fixture
def chats(kube: Kube, operators: Operators, minimal: dict[str, Any]) -> Chats:
    return Chats(kube, operators, minimal)


@pytest.fixture
def open_schema(server: ApiServer) -> Iterator[None]:
    """The CRD as it was when anything could be stored below affinity."""
    crd = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    template = spec["properties"]["chatserver"]["properties"]["podTemplate"]["properties"]
    template["affinity"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert server.run_kubectl("apply", "-f", "-", stdin=json.dumps(crd)).returncode == 0
    yield
    assert server.run_kubectl("apply", "-f", str(CRD)).returncode == 0


def _store(server: ApiServer, namespace: str, name: str, affinity: str) -> int:
    """Store one by its text, which no client of ours could parse; its size as stored."""
    body = {
        "apiVersion": "chatcluster.io/v1alpha1",
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "paused": True,
            "auth": {"otp": {"sender": "Log", "allowDevelopmentCodes": True}},
            "chatserver": {"podTemplate": {"affinity": "AFFINITY"}},
        },
    }
    path = f"/apis/chatcluster.io/v1alpha1/namespaces/{namespace}/chatclusters"
    text = json.dumps(body).replace('"AFFINITY"', affinity)
    made = server.run_kubectl("create", "--raw", path, "-f", "-", stdin=text)
    assert made.returncode == 0, made.stderr
    return len(server.run_kubectl("get", "--raw", f"{path}/{name}").stdout)


async def _stored_without_bounds(server: ApiServer, chats: Chats, wide: dict[str, str]) -> None:
    """Deep and wide ones beside one that is served; all of them are reported."""

    async def opened() -> bool:
        # It takes the API server a moment to go by the changed schema.
        size = _store(server, chats.namespace, "probe", '{"a":' * 50 + "{}" + "}" * 50)
        await chats.operators.kubectl("delete", "chatcluster", "probe")
        return size > 800

    await until(opened, "the schema is open", PATIENCE_SECONDS, poll_seconds=0.2)
    bad = {"deep": '{"a":' * DEEPEST + "{}" + "}" * DEEPEST, **wide}
    for name, affinity in bad.items():
        assert _store(server, chats.namespace, name, affinity) > len(affinity)
    process = chats.operators.start("operator-a", CHAT_TEST_ANSWERS="1")
    await chats.create("demo")
    took = await chats.served("demo", "demo is served")
    # One that comes while it watches.
    _store(server, chats.namespace, "later", bad["deep"])
    repaired = await chats.repaired("demo")
    for name in (*bad, "later"):

        async def told(name: str = name) -> bool:
            return (await chats.reason(name)).startswith("InvalidSpec")

        await until(told, f"{name} is told of", PATIENCE_SECONDS, poll_seconds=0.5)
        assert f"ChatCluster {name}: spec.chatserver.podTemplate.affinity" in await chats.reason(name)
    assert process.runs
    assert process.health()[0] == 200
    assert process.peak_mib() < MEMORY_MAX_MIB
    tell(
        f"beside two ChatClusters of {DEEPEST} levels and {len(wide)} of {len(wide['wide-0'])} bytes: served after "
        f"{took:.1f} s, repaired after {repaired:.1f} s, {process.peak_mib():.0f} MiB at the most"
    )


def _wide(count: int, values: int) -> dict[str, str]:
    return {f"wide-{number}": '{"a":[' + ",".join(["{}"] * values) + "]}" for number in range(count)}


@pytest.mark.integration
@pytest.mark.usefixtures("open_schema")
async def test_chatclusters_that_were_stored_without_bounds_end_nothing_but_themselves(
    server: ApiServer, chats: Chats
) -> None:
    """A wide one with a few more values than are read: each write of one with a million keeps an API server busy."""
    await _stored_without_bounds(server, chats, _wide(1, 25_000))


@pytest.mark.soak
@pytest.mark.usefixtures("open_schema")
async def test_eight_chatclusters_of_a_megabyte_fill_no_memory_and_each_is_reported(
    server: ApiServer, chats: Chats
) -> None:
    await _stored_without_bounds(server, chats, _wide(8, 420_000))


@pytest.fixture
async def proxy(server: ApiServer) -> AsyncIterator[ApiProxy]:
    async with ApiProxy(server) as made:
        yield made


async def _failing_beside_healthy(chats: Chats, proxy: ApiProxy, failing: int, healthy: int, seconds: float) -> None:
    """Each attempt of a failing one takes its time and is refused."""
    fault = Fault(lambda request: is_write(request) and "/bad-" in request.path, status=500, seconds=seconds)
    proxy.faults.append(fault)
    way = proxy.kubeconfig(OPERATOR_TOKEN, OPERATOR_USER)
    process = chats.operators.start("operator-a", way, CHAT_TEST_ANSWERS="1")
    bad = [chats.create(f"bad-{number}") for number in range(failing)]
    for some in range(0, failing, 20):
        await asyncio.gather(*bad[some : some + 20])
    good = [f"good-{number}" for number in range(healthy)]
    for name in good:
        await chats.create(name)
    took = max(await asyncio.gather(*(chats.served(name, f"{name} is served") for name in good)))
    repaired = max(await asyncio.gather(*(chats.repaired(name) for name in good)))
    assert fault.met >= failing / 2
    assert process.runs
    assert process.health()[0] == 200, process.health()
    tell(f"{failing} failing beside {healthy} healthy: served after {took:.1f} s, repaired after {repaired:.1f} s")
    proxy.faults.clear()


@pytest.mark.integration
async def test_failing_ones_hold_up_no_healthy_ones(chats: Chats, proxy: ApiProxy) -> None:
    await _failing_beside_healthy(chats, proxy, 60, 5, 1)


@pytest.mark.soak
async def test_a_thousand_failing_ones_hold_up_no_healthy_ones(chats: Chats, proxy: ApiProxy) -> None:
    await _failing_beside_healthy(chats, proxy, 1_000, 50, 1)
