"""Two nodes: what runs is on both, and either way of leaving, told or untold, loses nothing.

The drain is one of `make soak`'s: HAProxy's and the servers' graces add up to more than `make test` has time for.
"""

import time
from collections import Counter

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.nodes import Nodes

DRAIN_SECONDS = 180
"""Budgets let one pod of a part go at a time, each within its grace."""

BACK_SECONDS = 180

NOTICE_SECONDS = 60
"""For HAProxy: two checks that fail, each within 2 s; on a loaded machine."""

TALK_SECONDS = 120
"""Until people write again who were connected through what is lost: they notice after 20 s, and try again."""


async def test_a_node_dies_and_comes_back(cluster: Cluster, nodes: Nodes) -> None:
    await nodes.spread_out()
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=3, messages_per_second=2) as ledger:
        await nodes.kill()
        try:
            noticed = await until(nodes.is_avoided, "HAProxy sends nobody to it", NOTICE_SECONDS)
            talking = noticed + await ledger.all_acknowledged(TALK_SECONDS)
        finally:
            await nodes.start()
        back = await until(nodes.is_used, "HAProxy sends people there again", BACK_SECONDS)
        await cluster.ready(BACK_SECONDS)
        await ledger.all_acknowledged(TALK_SECONDS)
        account = await ledger.finish()
        tell(
            f"node killed: HAProxy sends nobody there after {noticed:.1f} s, everybody writes after {talking:.1f} s; "
            f"HAProxy sends people there {back:.1f} s after its start\n{account}"
        )
        assert account.clean, account


@pytest.mark.soak
async def test_a_drained_node_hands_its_clients_on(cluster: Cluster, nodes: Nodes) -> None:
    await nodes.spread_out()
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=3, messages_per_second=2) as ledger:
        through_its_proxies = await nodes.clients_of_its_proxies()
        started = time.monotonic()
        try:
            told = await cluster.kubectl(
                *("drain", nodes.worker, "--ignore-daemonsets", "--delete-emptydir-data"),
                f"--timeout={DRAIN_SECONDS}s",
                timeout_seconds=DRAIN_SECONDS + 10,
            )
            seconds = time.monotonic() - started
            left = {part: await nodes.pods(part) for part in ("chatserver", "ingress", "postgres")}
            assert not any(by_node[nodes.worker] for by_node in left.values()), told
            await cluster.servers(2)
        finally:
            await cluster.kubectl("uncordon", nodes.worker)
        await cluster.ready(BACK_SECONDS)
        await ledger.all_acknowledged(TALK_SECONDS)
        account = await ledger.finish()
        closes = Counter(int(code) for client in ledger.clients for code in client.closes)
        asked = sum(client.reconnects_asked for client in ledger.clients)
        tell(f"node drained in {seconds:.0f} s; {asked} times asked to move, closed with {dict(closes)}\n{account}")
        assert account.clean, account
        cut = sum(count for code, count in closes.items() if code not in {1000, 1012})
        assert cut <= through_its_proxies, "only a proxy that leaves may cut those who came through it"
