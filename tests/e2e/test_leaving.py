"""Proxies and servers leave with many sockets open, through the real HAProxy. Run by `make soak`.

With `make test` runs a smaller version: a pod of each leaves in test_faults.py.
"""

import time
from collections import Counter

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.flock import NO_CODE, Door, Flock, devices_sql, histogram, make_tokens
from tests.support.ledger import Ledger

pytestmark = pytest.mark.soak

IDLE_SOCKETS = 1000
DRAINED_SOCKETS = 2500
"""On the server that leaves. As many are on the other, and all share this machine with everything else; 5,000 leave a
server without proxies in tests/soak/test_drain.py."""

CONNECT_SECONDS = 420

ROLLED_SECONDS = 240
"""Two pods after each other, each a start and 35 s of leaving; they overlap."""

DRAIN_SECONDS = 60

LEFT_SECONDS = 120


async def test_a_rollout_of_the_proxies_moves_their_clients_and_cuts_nobody(cluster: Cluster) -> None:
    async with (
        Ledger(cluster.url, tls=cluster.insecure, pairs=4, messages_per_second=2) as ledger,
        Flock(_door(cluster), await _devices(cluster, IDLE_SOCKETS), tls=cluster.insecure) as flock,
    ):
        await flock.all_connected(CONNECT_SECONDS)
        old = [pod["metadata"]["name"] for pod in await cluster.pods("ingress")]
        await cluster.kubectl("rollout", "restart", "deployment/demo-ingress", "-n", "chat")
        took = await until(lambda: _gone(cluster, old), "the proxies of before are gone", ROLLED_SECONDS)
        await flock.all_connected(CONNECT_SECONDS)
        ends = _ends(flock)
        moves = Counter(stay.device for stay in flock.stays)
        account = await ledger.finish()
        tell(
            f"rollout of {len(old)} proxies with {IDLE_SOCKETS} idle sockets: the old ones gone after {took:.0f} s; "
            f"{dict(ends)}, {sum(count > 1 for count in moves.values())} of them more than once; "
            f"connects that failed: {dict(flock.refused) or 'none'}"
        )
        tell(account)
    assert set(moves) == set(range(IDLE_SOCKETS)), "every socket ran through a proxy that has gone"
    assert set(ends) == {"moved"}
    assert account.clean, account


async def test_thousands_leave_one_server_in_time_through_the_real_proxies(cluster: Cluster) -> None:
    """An eviction, as a node's drain does it; all are back on the others, spread over the time."""
    await cluster.patch({"chatserver": {"drainSeconds": DRAIN_SECONDS, "scaling": {"minReplicas": 2}}})
    await cluster.settled()
    async with (
        Ledger(cluster.url, tls=cluster.insecure, pairs=4, messages_per_second=2) as ledger,
        # Half of them on each of the two servers.
        Flock(_door(cluster), await _devices(cluster, 2 * DRAINED_SOCKETS), tls=cluster.insecure) as flock,
    ):
        await flock.all_connected(2 * CONNECT_SECONDS)
        victim = (await cluster.pods("chatserver"))[0]["metadata"]["name"]
        held = sum(1 for server in flock.servers() if server == victim)
        await cluster.evict(victim)
        began = time.monotonic()
        took = await until(lambda: _gone(cluster, [victim]), "the server is gone", DRAIN_SECONDS + LEFT_SECONDS)
        await flock.all_connected(CONNECT_SECONDS)
        left = [stay for stay in flock.stays if stay.server == victim]
        back = [arrival.at - began for arrival in flock.arrivals if arrival.at > began]
        account = await ledger.finish()
        tell(
            f"eviction of a server with {held} sockets and {DRAIN_SECONDS} s to drain: gone after {took:.0f} s, "
            f"the last client back after {max(back):.0f} s; {dict(_ends(flock))}; "
            f"connects that failed: {dict(flock.refused) or 'none'}"
        )
        tell("when they were back, seconds after the eviction:\n" + histogram(back, bin_seconds=5))
        tell(account)
    assert len({stay.device for stay in left}) == held
    assert not any(stay.code == NO_CODE for stay in left)
    assert account.clean, account


def _door(cluster: Cluster) -> Door:
    return Door(cluster.url.replace("https", "wss", 1))


async def _devices(cluster: Cluster, count: int) -> list[str]:
    tokens = make_tokens(count)
    await cluster.psql(devices_sql(tokens))
    return tokens


async def _gone(cluster: Cluster, names: list[str]) -> bool:
    there = await cluster.get("pods", selector="app.kubernetes.io/instance=demo")
    return not set(names) & {pod["metadata"]["name"] for pod in there}


def _ends(flock: Flock) -> Counter[str]:
    """How connections ended: moved by a `reconnect`, closed in order without one, or cut."""
    return Counter("cut" if stay.code == NO_CODE else "moved" if stay.asked else "closed" for stay in flock.stays)
