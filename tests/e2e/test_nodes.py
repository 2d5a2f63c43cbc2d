"""Two nodes: what runs is on both, and either way of leaving, told or untold, loses nothing.

In `make test` one dies and comes back. What takes minutes, because of Kubernetes' own patience or of the graces of
proxies and servers, is run by `make soak`, as is all of it with Valkey as the bus.
"""

import asyncio
import time
from collections import Counter

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.nodes import Nodes

pytestmark = pytest.mark.usefixtures("bus")

DRAIN_SECONDS = 180
"""Budgets let one pod of a part go at a time, each within its grace."""

BACK_SECONDS = 180

NOTICE_SECONDS = 60
"""For HAProxy: two checks that fail, each within 2 s; on a loaded machine."""

TALK_SECONDS = 120
"""Until people write again who were connected through what is lost: they notice after 20 s, and try again."""

CUT_SECONDS = 40
"""Less than the 50 s after which Kubernetes gives a node up."""

AWAY_SECONDS = 150
"""Long after Kubernetes has given it up, and replaced what ran there."""

REPLACED_SECONDS = 300


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
        started = time.monotonic()
        try:
            told = await nodes.drain(DRAIN_SECONDS)
            seconds = time.monotonic() - started
            left = {part: await nodes.pods(part) for part in ("chatserver", "ingress", "postgres")}
            assert not any(by_node[nodes.worker] for by_node in left.values()), told
            await cluster.settled(BACK_SECONDS)
        finally:
            await cluster.kubectl("uncordon", nodes.worker)
        await cluster.ready(BACK_SECONDS)
        await ledger.all_acknowledged(TALK_SECONDS)
        account = await ledger.finish()
        closes = Counter(int(code) for client in ledger.clients for code in client.closes)
        asked = sum(client.reconnects_asked for client in ledger.clients)
        tell(f"node drained in {seconds:.0f} s; {asked} times asked to move, closed with {dict(closes)}\n{account}")
        assert account.clean, account
        assert set(closes) <= {1000, 1012}, "nobody is cut: those of its proxies and of its servers are asked to move"


@pytest.mark.soak
async def test_a_node_cut_off_for_a_moment_is_not_replaced(cluster: Cluster, nodes: Nodes) -> None:
    """What runs there runs on, and hears from nobody."""
    await nodes.spread_out()
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=3, messages_per_second=2) as ledger:
        before = await cluster.uids()
        await nodes.cut()
        try:
            noticed = await until(nodes.is_avoided, "HAProxy sends nobody to it", NOTICE_SECONDS)
            await asyncio.sleep(CUT_SECONDS - noticed)
        finally:
            await nodes.mend()
        talking = await ledger.all_acknowledged(TALK_SECONDS)
        back = await until(nodes.is_used, "HAProxy sends people there again", BACK_SECONDS)
        await cluster.ready(BACK_SECONDS)
        account = await ledger.finish()
        tell(
            f"node cut off for {CUT_SECONDS} s: HAProxy sends nobody there after {noticed:.1f} s, everybody writes "
            f"{talking:.1f} s after its end, HAProxy sends people there {talking + back:.1f} s after it\n{account}"
        )
        assert await cluster.uids() == before
        assert account.clean, account


@pytest.mark.soak
@pytest.mark.parametrize("how", ["killed", "cut off"])
async def test_a_node_away_for_minutes_is_done_without(cluster: Cluster, nodes: Nodes, how: str) -> None:
    await nodes.spread_out()
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=3, messages_per_second=2) as ledger:
        began = time.monotonic()
        await (nodes.kill() if how == "killed" else nodes.cut())
        try:
            avoided, talking, given_up, replaced = await asyncio.gather(
                until(nodes.is_avoided, "HAProxy sends nobody to it", NOTICE_SECONDS),
                ledger.all_acknowledged(TALK_SECONDS),
                until(nodes.is_given_up, "Kubernetes gives it up", REPLACED_SECONDS),
                until(nodes.is_replaced, "the other node has all servers and proxies", REPLACED_SECONDS),
            )
            await cluster.ready(BACK_SECONDS)
            ready = time.monotonic() - began
            await asyncio.sleep(max(0, AWAY_SECONDS - ready))
            assert (await cluster.condition("Ready"))["status"] == "True", "nobody waits for it"
            meanwhile = await ledger.all_acknowledged(TALK_SECONDS)
        finally:
            await (nodes.start() if how == "killed" else nodes.mend())
        settled = await cluster.settled(BACK_SECONDS)
        await ledger.all_acknowledged(TALK_SECONDS)
        account = await ledger.finish()
        tell(
            f"node {how} for {AWAY_SECONDS} s: HAProxy sends nobody there after {avoided:.1f} s, all write after "
            f"{talking:.1f} s, Kubernetes gives it up after {given_up:.0f} s, all servers and proxies run on the other "
            f"after {replaced:.0f} s, Ready by {ready:.0f} s; at the end each writes within {meanwhile:.1f} s; "
            f"nothing left of before {settled:.0f} s after it was back\n{account}"
        )
        assert account.clean, account
