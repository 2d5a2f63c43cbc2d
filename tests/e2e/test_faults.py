"""What breaks in real life, with people chatting all the while: N acknowledged, none lost, doubled or reordered."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from chatserver.client import Problem
from tests.support.cluster import Cluster, CommandFailed, until
from tests.support.findings import tell
from tests.support.ledger import Account, Ledger, sign_in

BACK_SECONDS = 10
"""A deleted child exists again within it: the promise to the admin."""

RECOVER_SECONDS = 180

CHILDREN = [
    ("deployment", "demo-chatserver"),
    ("deployment", "demo-ingress"),
    ("statefulset", "demo-postgres"),
    ("service", "demo-chatserver"),
    ("service", "demo-ingress"),
    ("service", "demo-postgres"),
    ("configmap", "demo-ingress"),
    ("configmap", "demo-postgres"),
]

OUTAGE_SECONDS = 60


async def test_a_pod_of_each_part_dies(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        for component in ("chatserver", "ingress", "postgres"):
            victim, *_ = await cluster.pods(component)
            await cluster.kubectl("delete", "pod", victim["metadata"]["name"], "-n", "chat", "--wait=false")
            await _replaced(cluster, component, victim["metadata"]["uid"])
            await _still_acknowledging(ledger)
        _verdict(await ledger.finish())


async def test_a_chatserver_and_postgres_are_killed_without_warning(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        for component in ("chatserver", "postgres"):
            victim, *_ = await cluster.pods(component)
            await cluster.kubectl(
                "delete", "pod", victim["metadata"]["name"], "-n", "chat", "--force", "--grace-period=0"
            )
            await _replaced(cluster, component, victim["metadata"]["uid"])
            await _still_acknowledging(ledger)
        _verdict(await ledger.finish())


async def test_deleted_children_come_back_with_their_replicas(cluster: Cluster) -> None:
    took: dict[str, float] = {}
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        for kind, name in CHILDREN:
            before = await cluster.get(kind, name)
            await cluster.kubectl("delete", kind, name, "-n", "chat", "--wait=false")
            took[f"{kind}/{name}"] = await _recreated(cluster, kind, name, before["metadata"]["uid"])
            after = await cluster.get(kind, name)
            assert after.get("spec", {}).get("replicas") == before.get("spec", {}).get("replicas")
            await cluster.ready(RECOVER_SECONDS)
            await _still_acknowledging(ledger)
        tell("\n".join(f"{name} is back after {seconds:.1f} s" for name, seconds in took.items()))
        _verdict(await ledger.finish())


async def test_postgres_away_for_a_minute_cuts_no_socket(cluster: Cluster) -> None:
    """Three servers; writes answer 503 with Retry-After, HAProxy keeps its slots, all is well afterwards."""
    await cluster.patch({"chatserver": {"scaling": {"minReplicas": 3}}})
    await cluster.servers(3)
    await cluster.ready()
    async with (
        await sign_in(cluster.url, tls=cluster.insecure) as ana,
        Ledger(cluster.url, tls=cluster.insecure, pairs=3, messages_per_second=1) as ledger,
    ):
        await cluster.patch({"paused": True})
        await until(lambda: _is(cluster, "Paused"), "the operator is paused", 30)
        closes = [list(client.closes) for client in ledger.clients]
        pods = {pod["metadata"]["uid"] for pod in await cluster.pods("chatserver")}
        try:
            await cluster.kubectl("scale", "statefulset", "demo-postgres", "-n", "chat", "--replicas=0")
            await cluster.kubectl("wait", "pod", "demo-postgres-0", "-n", "chat", "--for=delete", "--timeout=60s")
            until_back = time.monotonic() + OUTAGE_SECONDS
            refusals = 0
            while time.monotonic() < until_back:
                with pytest.raises(Problem) as refused:
                    await ana.send("during the outage", client_id="00000000-0000-4000-8000-000000000000", to="nobody")
                assert refused.value.status == httpx.codes.SERVICE_UNAVAILABLE
                assert refused.value.retry_after_seconds
                refusals += 1
                await asyncio.sleep(2)
            assert refusals > 1
            assert await _slots(cluster) >= 3
        finally:
            await cluster.patch({"paused": False})
        await cluster.ready(RECOVER_SECONDS)
        await _still_acknowledging(ledger)
        assert [list(client.closes) for client in ledger.clients] == closes
        assert {pod["metadata"]["uid"] for pod in await cluster.pods("chatserver")} == pods
        _verdict(await ledger.finish())


async def test_the_operator_dies_in_the_middle_of_a_change(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        await cluster.patch({"chatserver": {"scaling": {"minReplicas": 3}}})
        await cluster.kubectl(
            *("delete", "pod", "-n", "chatcluster-system", "-l", "app.kubernetes.io/name=chatcluster-operator"),
            *("--force", "--grace-period=0"),
        )
        await cluster.servers(3)
        await cluster.ready()
        await _still_acknowledging(ledger)
        _verdict(await ledger.finish())


async def _recreated(cluster: Cluster, kind: str, name: str, uid: str) -> float:
    """Wait until another object of the name is there; returns the seconds it took."""

    async def back() -> bool:
        found = await cluster.get(kind, name)
        return bool(found) and found["metadata"]["uid"] != uid and "deletionTimestamp" not in found["metadata"]

    return await until(back, f"{kind}/{name} is back", BACK_SECONDS, poll_seconds=0.2)


async def _replaced(cluster: Cluster, component: str, uid: str) -> None:
    async def replaced() -> bool:
        pods = await cluster.pods(component)
        return all(pod["metadata"]["uid"] != uid for pod in pods) and all(_is_ready(pod) for pod in pods) and bool(pods)

    await until(replaced, f"the {component} pod is replaced", RECOVER_SECONDS)
    await cluster.ready(RECOVER_SECONDS)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


async def _is(cluster: Cluster, condition: str) -> bool:
    return (await cluster.condition(condition)).get("status") == "True"


async def _still_acknowledging(ledger: Ledger) -> None:
    before = ledger.acknowledged

    async def more() -> bool:
        return ledger.acknowledged >= before + 2 * len(ledger.clients)

    await until(more, "messages are acknowledged again", 60)


async def _slots(cluster: Cluster) -> int:
    """Servers that HAProxy still has an address for, whatever its checks say of them."""
    ingress, *_ = await cluster.pods("ingress")
    try:
        metrics = await cluster.kubectl(
            "get", "--raw", f"/api/v1/namespaces/chat/pods/{ingress['metadata']['name']}:8404/proxy/metrics"
        )
    except CommandFailed as failed:
        raise AssertionError("HAProxy's metrics are not to be had") from failed
    states = [line for line in metrics.splitlines() if line.startswith("haproxy_server_status{")]
    return sum(line.endswith(" 1") for line in states if 'state="DOWN"' in line or 'state="UP"' in line)


def _verdict(account: Account) -> None:
    tell(account)
    assert account.clean, account
