"""The servers follow the connections, the emptiest goes first, and nobody is cut but by `reconnect` and 1012.

The HPA on real metrics, and three times the load, are of `make soak`: in `make test` Kubernetes' controller moves the
servers of an API server alone (tests/integration/operator/test_external_scaling.py).
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.flock import flock_of
from tests.support.ledger import Ledger
from tests.support.readiness import ReadyWatch

TARGET = 11

CROWD = 28
"""With the ledger's two they want ceil(30 / 11) = 3 servers."""

NEWCOMERS = 6
"""Fewer than each of the two first servers has of the crowd: they all go to the third, where there are fewest."""

AT_ONCE = {"scaleDownStabilizationSeconds": 0}

CONNECT_SECONDS = 120

SCALED_SECONDS = 180

LEFT_SECONDS = 90
"""drainSeconds, which are 30, and kubelet's part."""

IN_ORDER = {1000, 1012}
"""Close codes of who was asked to move, and did, and of who did not."""


async def test_servers_follow_the_connections_up_and_down(cluster: Cluster) -> None:
    """Nothing that it changes restarts a server: it waits for those alone that come and go with the load.

    The server that goes is not the newest, which Kubernetes would take by itself.
    """
    await _two_servers(cluster)
    scaling = {"maxReplicas": 3, "scaleDownStabilizationSeconds": None}
    await cluster.patch({"chatserver": {"targetConnectionsPerServer": TARGET, "scaling": scaling}})
    async with (
        Ledger(cluster.url, tls=cluster.insecure, pairs=1, messages_per_second=2) as ledger,
        ReadyWatch(cluster) as ready,
        contextlib.AsyncExitStack() as stays,
    ):
        async with await flock_of(cluster, CROWD) as crowd:
            await crowd.all_connected(CONNECT_SECONDS)
            asked = await until(lambda: cluster.asks_for(3), "a third server is asked for", SCALED_SECONDS)
            # A server that was busy when it was asked is counted the next time.
            await until(lambda: _counted(cluster), "status counts all connections", SCALED_SECONDS)
            found = asked + await until(lambda: cluster.finds(3), "the proxies have found it", SCALED_SECONDS)
            newcomers = await stays.enter_async_context(await flock_of(cluster, NEWCOMERS))
            await newcomers.all_connected(CONNECT_SECONDS)
            assert not crowd.stays, "a scale-up cuts nobody"
        there = await _servers(cluster)
        # A change of the spec is decided on at once.
        await cluster.patch({"chatserver": {"scaling": AT_ONCE}})
        began = time.monotonic()
        victim, held = await _removed(
            cluster, there, lambda: Counter(newcomers.servers()) + Counter(client.server for client in ledger.clients)
        )
        decided = time.monotonic() - began
        assert held[victim] == min(held.values()), f"{victim} went; connections were {held}"
        await cluster.kubectl("wait", f"pod/{victim}", "-n", "chat", "--for=delete", f"--timeout={LEFT_SECONDS}s")
        tell(
            f"{CROWD} connections more: a third server asked for after {asked:.1f} s, found by the proxies after "
            f"{found:.1f} s; when they had gone, one of those with {sorted(held.values())} connections that stayed "
            f"was told to go after {decided:.1f} s: the one with {held[victim]}"
        )
        for client in ledger.clients:
            cut = set(client.closes) - IN_ORDER
            assert not cut, f"cut by {cut}; asked to move {client.reconnects_asked} times"
        assert not ready.bad(), "the chat answers while servers come and go"
        assert not newcomers.stays, "the newest server has most connections: it stays, and so do they"
        account = await ledger.finish()
        tell(account)
        assert account.clean, account


LOAD_TARGET = 100

LOAD = 170
"""With the ledger's four: two servers."""

MORE_LOAD = 348
"""Three times as many: ceil(522 / 100) = 6 servers."""

SPREAD_SECONDS = 240
"""1 % a second of those who are too many."""

ONE_LESS_SECONDS = 180
"""At most one server goes a minute, after the one before has left."""


@pytest.mark.soak
async def test_three_times_the_load_and_back(cluster: Cluster) -> None:
    await _two_servers(cluster)
    await cluster.patch({"chatserver": {"targetConnectionsPerServer": LOAD_TARGET, "scaling": None}})
    async with (
        Ledger(cluster.url, tls=cluster.insecure, messages_per_second=2) as ledger,
        ReadyWatch(cluster) as ready,
        await flock_of(cluster, LOAD) as base,
    ):
        await base.all_connected(CONNECT_SECONDS)
        async with await flock_of(cluster, MORE_LOAD) as more:
            began = time.monotonic()
            await more.all_connected(CONNECT_SECONDS)
            loaded = time.monotonic() - began
            await until(lambda: cluster.asks_for(6), "six servers are asked for", SCALED_SECONDS)
            asked = time.monotonic() - began
            await until(lambda: cluster.finds(6), "the proxies have found them", SCALED_SECONDS)
            found = time.monotonic() - began

            def held() -> Counter[str]:
                return Counter(base.servers() + more.servers())

            async def is_spread() -> bool:
                counts = held()
                return len(counts) == 6 and max(counts.values()) <= 1.25 * sum(counts.values()) / 6

            await until(is_spread, "no server has more than 1.25 times the mean", SPREAD_SECONDS)
            spread = time.monotonic() - began
            tell(
                f"three times the load, {LOAD} and {MORE_LOAD} sockets, the last connected after {loaded:.1f} s: "
                f"Deployment patched from 2 to 6 after {asked:.1f} s, found by the proxies after {found:.1f} s, "
                f"none with more than 1.25 times the mean after {spread:.0f} s: {sorted(held().values())}"
            )
        there = await _servers(cluster)
        await cluster.patch({"chatserver": {"scaling": AT_ONCE}})
        began = time.monotonic()
        while len(there) > 2:
            victim, counts = await _removed(
                cluster, there, lambda: Counter(base.servers()) + Counter(client.server for client in ledger.clients)
            )
            there.remove(victim)
            told = time.monotonic() - began
            await cluster.kubectl("wait", f"pod/{victim}", "-n", "chat", "--for=delete", f"--timeout={LEFT_SECONDS}s")
            tell(
                f"two thirds of the load gone: told to go after {told:.0f} s, gone after "
                f"{time.monotonic() - began:.0f} s, a server with {counts[victim]} of {sorted(counts.values())}"
            )
            assert counts[victim] == min(counts.values()), f"{victim} went; connections were {counts}"
        await base.all_connected(CONNECT_SECONDS)
        ends = base.ends() + more.ends()
        account = await ledger.finish()
        tell(f"how sockets ended on the way up and down: {dict(ends)}; back on {dict(Counter(base.servers()))}")
        tell(account)
        assert not ready.bad()
        assert set(ends) <= {"moved"}
        assert account.clean, account


async def _two_servers(cluster: Cluster) -> None:
    """What an earlier test began, a third server or a rollout, would move clients, too, and remove servers."""
    await cluster.patch({"chatserver": {"scaling": AT_ONCE}})
    await cluster.servers(2)
    await cluster.settled()


async def _counted(cluster: Cluster) -> bool:
    chat = await cluster.get("chatcluster", "demo")
    return int(chat["status"]["connections"]) >= CROWD


async def _servers(cluster: Cluster) -> set[str]:
    return {pod["metadata"]["name"] for pod in await cluster.pods("chatserver")}


async def _removed(cluster: Cluster, there: set[str], held: Callable[[], Counter[str]]) -> tuple[str, dict[str, int]]:
    """Wait until one of these servers is on its way out; returns it, and the connections of each just before."""
    counts: Counter[str] = Counter()
    gone: set[str] = set()

    async def one_less() -> bool:
        nonlocal counts, gone
        counts = held()
        gone = there - await _servers(cluster)
        return bool(gone)

    await until(one_less, "a server is on its way out", ONE_LESS_SECONDS)
    (victim,) = gone
    return victim, {name: counts[name] for name in there}


HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: demo, namespace: chat}
spec:
  scaleTargetRef: {apiVersion: chatcluster.io/v1alpha1, kind: ChatCluster, name: demo}
  minReplicas: 2
  maxReplicas: 3
  metrics:
    - {type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 1m}}}
"""
"""One thousandth of a core a server: any load wants the most."""


@pytest.mark.soak
async def test_kubernetes_own_autoscaler_and_kubectl_scale_move_the_servers(cluster: Cluster) -> None:
    """By the scale subresource, from what metrics-server measures; the operator follows and does not fight."""
    await cluster.patch({"chatserver": {"scaling": {"mode": "External", "replicas": 2}}})
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=1, messages_per_second=5) as ledger:
        try:
            await cluster.apply(HPA)
            took = await until(lambda: cluster.asks_for(3), "the HPA has asked for a third server", SCALED_SECONDS)
            await cluster.servers(3, SCALED_SECONDS)
            hpa = await cluster.get("hpa", "demo")
            measured = hpa["status"]["currentMetrics"][0]["resource"]["current"]["averageValue"]
            tell(f"an HPA on the ChatCluster asked for a third server after {took:.0f} s, at {measured} of a core each")
            assert (await cluster.condition("ScalingActive"))["reason"] == "External"
        finally:
            await cluster.kubectl("delete", "hpa", "demo", "-n", "chat")
        await cluster.kubectl("scale", "chatcluster/demo", "-n", "chat", "--replicas=2")
        took = await until(lambda: cluster.asks_for(2), "two servers are asked for", SCALED_SECONDS, poll_seconds=0.2)
        tell(f"kubectl scale reached the Deployment after {took:.1f} s")
        account = await ledger.finish()
        tell(account)
        assert account.clean, account
