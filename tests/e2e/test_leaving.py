"""Proxies and servers leave with many sockets open, through the real HAProxy. Run by `make soak`.

With `make test` runs a smaller version: a pod of each leaves in test_faults.py.
"""

import time
from collections import Counter

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.flock import NO_CODE, flock_of, histogram
from tests.support.ledger import Ledger

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

IDLE_SOCKETS = 1000
DRAINED_SOCKETS = 5000

CONNECT_SECONDS = 420

ROLLED_SECONDS = 240
"""Two pods after each other, each a start and 35 s of leaving; they overlap."""

DRAIN_SECONDS = 60
"""Of a server: 49 s in which its clients leave, more than 100 a second. Proxies, servers, database and clients share
the cores of this machine, and each comes back with a handshake of TLS."""

LEFT_SECONDS = 120

ONE_SERVER = {"minReplicas": 1, "scaleDownStabilizationSeconds": 0}


async def test_a_change_of_the_proxies_moves_their_clients_and_cuts_nobody(cluster: Cluster) -> None:
    async with (
        Ledger(cluster.url, tls=cluster.insecure, pairs=8, messages_per_second=5) as ledger,
        await flock_of(cluster, IDLE_SOCKETS) as flock,
    ):
        await flock.all_connected(CONNECT_SECONDS)
        old = [pod["metadata"]["name"] for pod in await cluster.pods("ingress")]
        try:
            await cluster.patch({"ingress": {"resources": {"requests": {"memory": "65Mi"}}}})
            took = await until(lambda: _gone(cluster, old), "the proxies of before are gone", ROLLED_SECONDS)
            await flock.all_connected(CONNECT_SECONDS)
            ends, moves = flock.ends(), Counter(stay.device for stay in flock.stays)
            account = await ledger.finish()
        finally:
            await cluster.patch({"ingress": {"resources": None}})
        closes = Counter(code for client in ledger.clients for code in client.closes)
        tell(
            f"another template for {len(old)} proxies, with {IDLE_SOCKETS} idle sockets and {len(ledger.clients)} that "
            f"talk: the old ones gone after {took:.0f} s; {dict(ends)}, {sum(count > 1 for count in moves.values())} "
            f"of them more than once; connects that failed: {dict(flock.refused) or 'none'}; those who talk closed "
            f"with {dict(closes)}"
        )
        tell(account)
        await cluster.settled()
    assert set(moves) == set(range(IDLE_SOCKETS)), "every socket ran through a proxy that has gone"
    assert set(ends) == {"moved"}
    assert set(closes) <= {1000, 1012}
    assert account.clean, account


async def test_thousands_leave_one_server_in_time_through_the_real_proxies(cluster: Cluster) -> None:
    """An eviction, as a node's drain does it; all are back on the other one, spread over the time."""
    # Who leaves here leaves because of the eviction.
    still = [{"name": "CHAT_SHED_PERCENT_PER_SECOND", "value": "0"}]
    await cluster.patch({"chatserver": {"drainSeconds": DRAIN_SECONDS, "env": still, "scaling": ONE_SERVER}})
    await cluster.servers(1)
    await cluster.settled()
    async with (
        Ledger(cluster.url, tls=cluster.insecure, pairs=4, messages_per_second=2) as ledger,
        await flock_of(cluster, DRAINED_SOCKETS) as flock,
    ):
        began = time.monotonic()
        await flock.all_connected(CONNECT_SECONDS)
        tell(f"{DRAINED_SOCKETS} sockets connected through the proxies after {time.monotonic() - began:.0f} s")
        (victim,) = {*flock.servers()}
        await cluster.patch({"chatserver": {"scaling": {"minReplicas": 2}}})
        await until(lambda: cluster.finds(2), "the proxies have found another server", CONNECT_SECONDS)
        await cluster.settled()
        await cluster.evict(victim)
        began = time.monotonic()
        took = await until(lambda: _gone(cluster, [victim]), "the server is gone", DRAIN_SECONDS + LEFT_SECONDS)
        await flock.all_connected(CONNECT_SECONDS)
        left = [stay.ended_at - began for stay in flock.stays]
        back = [arrival.at - began for arrival in flock.arrivals if arrival.at > began]
        account = await ledger.finish()
        tell(
            f"eviction of a server with {DRAINED_SOCKETS} sockets and {DRAIN_SECONDS} s to drain: the last socket left "
            f"it after {max(left):.0f} s, the pod gone after {took:.0f} s, the last one back after {max(back):.0f} s, "
            f"{dict(flock.ends())}; closes {dict(Counter(stay.code for stay in flock.stays))}; "
            f"connects that failed: {dict(flock.refused) or 'none'}"
        )
        tell("when they were back, seconds after the eviction:\n" + histogram(back, bin_seconds=5))
        tell(account)
    assert {stay.device for stay in flock.stays if stay.server == victim} == set(range(DRAINED_SOCKETS))
    assert not any(stay.code == NO_CODE for stay in flock.stays)
    assert max(left) <= DRAIN_SECONDS
    assert account.clean, account


async def _gone(cluster: Cluster, names: list[str]) -> bool:
    there = await cluster.get("pods", selector="app.kubernetes.io/instance=demo")
    return not set(names) & {pod["metadata"]["name"] for pod in there}
