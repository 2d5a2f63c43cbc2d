"""What breaks in real life, with people chatting all the while: N acknowledged, none lost, doubled or reordered.

`make soak` runs all of it with Valkey as the bus, too.
"""

import asyncio
import time

import httpx
import pytest

from chatcluster_client import Problem
from tests.support.cluster import PROXY_PORT, Cluster, until
from tests.support.findings import tell
from tests.support.flock import NO_CODE, flock_of
from tests.support.ledger import Account, Ledger, sign_in
from tests.support.readiness import READY_FALSE_SECONDS, ReadyWatch, answers

pytestmark = pytest.mark.usefixtures("bus")

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
CHILDREN_OF_VALKEY = [("statefulset", "demo-bus"), ("service", "demo-bus"), ("configmap", "demo-bus")]

OUTAGE_SECONDS = 60

SOCKETS = 200

CONNECT_SECONDS = 60

LEFT_SECONDS = 90
"""A leaving proxy has 35 s."""


async def test_a_pod_of_each_part_dies(cluster: Cluster, bus: str) -> None:
    """Those that can leave in order cut no socket: a proxy's clients are moved as those of a server are."""
    async with (
        Ledger(cluster.url, tls=cluster.insecure) as ledger,
        await flock_of(cluster, SOCKETS) as flock,
    ):
        await flock.all_connected(CONNECT_SECONDS)
        left = []
        for component in ("chatserver", "ingress", "postgres", *(["bus"] if bus == "Valkey" else [])):
            victim, *_ = await cluster.pods(component)
            left.append(f"pod/{victim['metadata']['name']}")
            await cluster.kubectl("delete", left[-1], "-n", "chat", "--wait=false")
            await cluster.replaced(component, victim["metadata"]["uid"], RECOVER_SECONDS)
            await cluster.ready(RECOVER_SECONDS)
            await _still_acknowledging(ledger)
        # Those of PostgreSQL and Valkey have the same name again.
        await cluster.kubectl("wait", *left[:2], "-n", "chat", "--for=delete", f"--timeout={LEFT_SECONDS}s")
        await flock.all_connected(CONNECT_SECONDS)
        by_proxy = await cluster.metric("chatserver", "chatserver_proxy_moves_total")
        cut = [stay for stay in flock.stays if stay.code == NO_CODE or not stay.asked]
        tell(
            f"a server and a proxy left: {len(flock.stays)} times one of {SOCKETS} sockets was moved by reconnect "
            f"({by_proxy:.0f} sockets because of the proxy, the ledger's among them), {len(cut)} were cut"
        )
        assert by_proxy
        assert not cut
        _verdict(await ledger.finish())


async def test_all_chatservers_and_postgres_are_killed_without_warning(cluster: Cluster) -> None:
    """And kept away for a while, in which status says so, and why."""
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        async with cluster.without_new_pods():
            victims = [pod["metadata"]["name"] for pod in await cluster.pods("chatserver")]
            await _false_in_time(cluster, ready, victims, ("0 of 2 chatserver pods are ready", "unschedulable"))
        await ready.becomes("True", RECOVER_SECONDS)
        await _still_acknowledging(ledger)
        victim, *_ = await cluster.pods("postgres")
        await cluster.kubectl("delete", "pod", victim["metadata"]["name"], "-n", "chat", "--force", "--grace-period=0")
        await cluster.replaced("postgres", victim["metadata"]["uid"], RECOVER_SECONDS)
        await cluster.ready(RECOVER_SECONDS)
        await _still_acknowledging(ledger)
        _verdict(await ledger.finish())


async def test_deleted_children_come_back_with_their_replicas(cluster: Cluster, bus: str) -> None:
    took: dict[str, float] = {}
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        for kind, name in [*CHILDREN, *(CHILDREN_OF_VALKEY if bus == "Valkey" else [])]:
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
    """Three servers; status says so, writes answer 503 with Retry-After, HAProxy keeps its slots; then all is well."""
    await cluster.patch({"chatserver": {"scaling": {"minReplicas": 3}}})
    await cluster.servers(3)
    # Whoever is still on its way out would move clients.
    await cluster.settled()
    async with (
        await sign_in(cluster.url, tls=cluster.insecure) as ana,
        Ledger(cluster.url, tls=cluster.insecure, pairs=3, messages_per_second=1) as ledger,
        ReadyWatch(cluster) as ready,
    ):
        closes = [list(client.closes) for client in ledger.clients]
        pods = await cluster.uids("chatserver")
        async with cluster.without_new_pods():
            why = ("0 of 1 postgres pods are ready", "unschedulable")
            await _false_in_time(cluster, ready, ["demo-postgres-0"], why)
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
            assert ready.told[-1].status == "False"
        began = time.monotonic()
        back = await answers(cluster, wanted=True, seconds=RECOVER_SECONDS)
        true = await ready.becomes("True", RECOVER_SECONDS)
        tell(
            f"PostgreSQL may come back: answered after {back - began:.1f} s, Ready True {true.at - back:.1f} s later; "
            f"{ready.writes} writes of the status in this minute"
        )
        await _still_acknowledging(ledger)
        assert [list(client.closes) for client in ledger.clients] == closes
        assert await cluster.uids("chatserver") == pods
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


async def _false_in_time(cluster: Cluster, ready: ReadyWatch, victims: list[str], why: tuple[str, ...]) -> None:
    """Kill pods: Ready turns False soon after people are no longer answered, and comes to say all of `why`.

    The time counts from the first refused request, not from the kill: how long proxies and servers take to notice is
    theirs, and on a machine with other work it is long.
    """
    refused = asyncio.create_task(answers(cluster, wanted=False, seconds=RECOVER_SECONDS))
    killed = time.monotonic()
    await cluster.kubectl("delete", "pod", *victims, "-n", "chat", "--force", "--grace-period=0")
    failed, told = await asyncio.gather(refused, ready.becomes("False", RECOVER_SECONDS))
    tell(
        f"{', '.join(victims)} killed: first request refused after {failed - killed:.1f} s, "
        f"Ready False {told.at - failed:.1f} s after that ({told.reason}: {told.message})"
    )
    assert told.at - failed <= READY_FALSE_SECONDS

    # Kubernetes itself counts a killed pod as ready for a moment, and looks for a node a moment later.
    async def explained() -> bool:
        return all(reason in ready.told[-1].message for reason in why)

    await until(explained, f"Ready says {' and '.join(why)}", READY_FALSE_SECONDS * 3)


async def _still_acknowledging(ledger: Ledger) -> None:
    before = ledger.acknowledged

    async def more() -> bool:
        return ledger.acknowledged >= before + 2 * len(ledger.clients)

    await until(more, "messages are acknowledged again", 60)


async def _slots(cluster: Cluster) -> int:
    """Servers that HAProxy still has an address for, whatever its checks say of them."""
    ingress, *_ = await cluster.pods("ingress")
    states = [
        await cluster.figure(ingress, "haproxy_server_status", PROXY_PORT, f'state="{state}"')
        for state in ("DOWN", "UP")
    ]
    return int(sum(states))


def _verdict(account: Account) -> None:
    tell(account)
    assert account.clean, account
