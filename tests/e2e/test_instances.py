"""A database of several instances: made of one while people write, lost and handed over, and one again.

In `make test` each of these happens once. What is slow or is to be repeated is run by `make soak`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.metadata import DATABASE_INSTANCE_LABEL, claim_name
from tests.support.findings import tell
from tests.support.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.chatinstances import ChatInstances
    from tests.support.cluster import Cluster
    from tests.support.nodes import Nodes

TALK_SECONDS = 120
"""Until each user has written again."""

SAID_SECONDS = 60
"""Until a condition says what is so."""

WITHOUT_SECONDS = 30
"""Without any replica: longer than Patroni needs to notice."""

DRAIN_SECONDS = 300

UNAVAILABLE_SECONDS = 180
"""Nine times as long as the leader's lock is valid."""

PARTS = ("database", "chatserver", "ingress")

SWITCHOVERS, SWITCHOVER_SECONDS = 30, 20
"""Ten minutes of them."""


@contextlib.asynccontextmanager
async def volumes_on_any_node(cluster: Cluster) -> AsyncIterator[None]:
    """Let volumes be on whichever node their first pod is; those of the local cluster are all on one otherwise."""
    made = json.loads(await cluster.kubectl("get", "storageclass", "standard", "-o", "json"))
    anywhere = {key: value for key, value in made.items() if key != "allowedTopologies"}
    await _replace(cluster, anywhere)
    try:
        yield
    finally:
        await _replace(cluster, made)


async def _replace(cluster: Cluster, manifest: dict[str, Any]) -> None:
    """Make a class another one: its fields are immutable."""
    named = {"name": manifest["metadata"]["name"], "annotations": manifest["metadata"]["annotations"]}
    await cluster.kubectl("replace", "--force", "-f", "-", stdin=json.dumps({**manifest, "metadata": named}))


async def test_one_becomes_three_survives_its_leader_and_becomes_one_again(
    cluster: Cluster, instances: ChatInstances, nodes: Nodes
) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2, messages_per_second=4) as ledger:
        epoch = await instances.epoch()
        copied = await instances.become(3)
        restarted = await ledger.gap(TALK_SECONDS)
        assert await instances.epoch() == epoch, "nothing was lost, so that no cursor expires"

        killed = await instances.led()
        await nodes.kill_container(killed, "postgres")
        led = await instances.led_by_another(killed)
        without_leader = await ledger.gap(TALK_SECONDS)
        back = await instances.complete(3)
        assert await instances.epoch() != epoch, "its last transactions may be unknown to the new one"

        old = await instances.led()
        said = await cluster.kubectl("chatcluster", "switchover", "demo", "-n", "chat")
        handed_over = await ledger.gap(TALK_SECONDS)
        assert await instances.led() != old, said
        await instances.complete(3)

        removed = await instances.become(1)
        alone = await ledger.gap(TALK_SECONDS)
        account = await ledger.finish()
    tell(
        f"1 -> 3 instances in {copied:.0f} s, longest wait for an acknowledgement {restarted:.1f} s; leader killed: "
        f"another leads after {led:.1f} s, longest wait {without_leader:.1f} s, complete {back:.0f} s later; "
        f"switchover: {handed_over:.1f} s; 3 -> 1 in {removed:.0f} s, longest wait {alone:.1f} s\n{account}"
    )
    assert account.clean, account


@pytest.mark.soak
@pytest.mark.parametrize("how", ["killed", "cut off"])
async def test_the_leaders_node_is_lost(cluster: Cluster, instances: ChatInstances, nodes: Nodes, how: str) -> None:
    async with volumes_on_any_node(cluster), Ledger(cluster.url, tls=cluster.insecure, pairs=2) as ledger:
        name = await _led_by_the_worker(cluster, instances, nodes)
        await ledger.gap(TALK_SECONDS)
        await (nodes.kill() if how == "killed" else nodes.cut())
        try:
            led = await instances.led_by_another(name)
            waited = await ledger.gap(TALK_SECONDS)
            await cluster.says("DatabaseReplicated", "Copying", SAID_SECONDS)
        finally:
            await (nodes.start() if how == "killed" else nodes.mend())
        back = await instances.complete(3)
        account = await ledger.finish()
        tell(
            f"the leader's node {how}: another instance leads after {led:.1f} s, longest wait for an acknowledgement "
            f"{waited:.1f} s, complete {back:.0f} s after the node was back\n{account}"
        )
        assert account.clean, account


async def _led_by_the_worker(cluster: Cluster, instances: ChatInstances, nodes: Nodes) -> str:
    """Have three instances, of which the leader alone is on the node that can be lost; returns its pod."""
    await instances.become(2)
    await cluster.kubectl("cordon", nodes.worker)
    try:
        await instances.become(3)
    finally:
        await cluster.kubectl("uncordon", nodes.worker)
    (victim,) = (await nodes.pods("postgres"))[nodes.worker]
    name = str(victim["metadata"]["name"])
    if await instances.led() != name:
        number = victim["metadata"]["labels"][DATABASE_INSTANCE_LABEL]
        await cluster.kubectl("chatcluster", "switchover", "demo", "-n", "chat", "--to", number)
        await instances.complete(3)
    return name


@pytest.mark.soak
async def test_the_leaders_node_is_drained(cluster: Cluster, instances: ChatInstances, nodes: Nodes) -> None:
    async with volumes_on_any_node(cluster), Ledger(cluster.url, tls=cluster.insecure, pairs=2) as ledger:
        name = await _led_by_the_worker(cluster, instances, nodes)
        await ledger.gap(TALK_SECONDS)
        began = time.monotonic()
        try:
            await nodes.drain(DRAIN_SECONDS)
            drained = time.monotonic() - began
            await instances.led_by_another(name)
            waited = await ledger.gap(TALK_SECONDS)
        finally:
            await cluster.kubectl("uncordon", nodes.worker)
        back = await instances.complete(3)
        account = await ledger.finish()
        tell(
            f"the leader's node drained in {drained:.0f} s, longest wait for an acknowledgement {waited:.1f} s, "
            f"complete {back:.0f} s after it could be used again\n{account}"
        )
        assert account.clean, account


@pytest.mark.soak
async def test_the_api_server_is_unavailable_for_minutes(
    cluster: Cluster, instances: ChatInstances, nodes: Nodes
) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2) as ledger:
        await instances.become(3)
        leader, epoch = await instances.led(), await instances.epoch()
        await ledger.gap(TALK_SECONDS)
        waits = []
        async with nodes.without_api_server():
            begun = time.monotonic()
            while time.monotonic() < begun + UNAVAILABLE_SECONDS:
                waits.append(await ledger.gap(TALK_SECONDS))
                await asyncio.sleep(1)
        await instances.complete(3)
        waits.append(await ledger.gap(TALK_SECONDS))
        assert (await instances.led(), await instances.epoch()) == (leader, epoch), "it leads all the time"
        account = await ledger.finish()
        tell(
            f"no API server for {UNAVAILABLE_SECONDS} s: longest wait for an acknowledgement {max(waits):.1f} s\n"
            f"{account}"
        )
        assert account.clean, account


@pytest.mark.soak
async def test_all_pods_are_replaced_while_users_write(cluster: Cluster, instances: ChatInstances) -> None:
    other = {"resources": {"requests": {"memory": "97Mi"}}}
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2, messages_per_second=4) as ledger:
        await instances.become(3)
        epoch, before = await instances.epoch(), await cluster.uids()
        await ledger.gap(TALK_SECONDS)
        try:
            await cluster.patch(dict.fromkeys(PARTS, other))
            took = await instances.complete(3)
            waited = await ledger.gap(TALK_SECONDS)
            assert not await cluster.uids() & before
            assert await instances.epoch() == epoch, "each leader ended cleanly"
        finally:
            await cluster.patch({part: {"resources": None} for part in PARTS})
        await instances.complete(3)
        account = await ledger.finish()
        tell(f"all pods replaced in {took:.0f} s: longest wait for an acknowledgement {waited:.1f} s\n{account}")
        assert account.clean, account


@pytest.mark.soak
async def test_the_leaders_volume_is_deleted(cluster: Cluster, instances: ChatInstances) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2) as ledger:
        await instances.become(3)
        await ledger.gap(TALK_SECONDS)
        old = await instances.led()
        number = next(
            one["metadata"]["labels"][DATABASE_INSTANCE_LABEL]
            for one in await instances.pods()
            if one["metadata"]["name"] == old
        )
        claim = claim_name("demo", int(number))
        volume = (await cluster.get("pvc", claim))["spec"]["volumeName"]
        await cluster.kubectl("delete", "pvc", claim, "-n", "chat", "--wait=false")
        await cluster.kubectl("delete", "pod", old, "-n", "chat", "--grace-period=0", "--force")
        waited = await ledger.gap(TALK_SECONDS)
        back = await instances.complete(3)
        assert (await cluster.get("pvc", claim))["spec"]["volumeName"] != volume, "it has another volume"
        account = await ledger.finish()
        tell(
            f"the leader's volume and pod deleted: longest wait for an acknowledgement {waited:.1f} s, complete again "
            f"{back:.0f} s later\n{account}"
        )
        assert account.clean, account


@pytest.mark.soak
async def test_without_replicas_writes_wait_unless_they_need_not(cluster: Cluster, instances: ChatInstances) -> None:
    await instances.become(3)
    leader = await instances.led()
    others = [one for one in await instances.pods() if one["metadata"]["name"] != leader]
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2) as ledger:
        await ledger.gap(TALK_SECONDS)
        async with cluster.without_new_pods():
            names = [pod["metadata"]["name"] for pod in others]
            await cluster.kubectl("delete", "pod", *names, "-n", "chat", "--wait=false")
            await cluster.says("DatabaseReplicated", "WritesStopped", SAID_SECONDS)
            await instances.without(set(names))
            before = ledger.acknowledged
            await asyncio.sleep(WITHOUT_SECONDS)
            assert ledger.acknowledged <= before + len(ledger.clients), "no message is acknowledged that one copy has"
            await cluster.patch({"database": {"strict": False}})
            loosened = await ledger.all_acknowledged(TALK_SECONDS)
            await cluster.says("DatabaseReplicated", "OneCopy", SAID_SECONDS)
        await cluster.patch({"database": {"strict": None}})
        back = await instances.complete(3)
        account = await ledger.finish()
        tell(f"strict false: writes again after {loosened:.1f} s; complete again after {back:.0f} s\n{account}")
        assert account.clean, account


@pytest.mark.soak
@pytest.mark.timeout(2400)
async def test_switchovers_for_ten_minutes(cluster: Cluster, instances: ChatInstances) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2, messages_per_second=4) as ledger:
        await instances.become(3)
        await ledger.gap(TALK_SECONDS)
        waits = []
        for _ in range(SWITCHOVERS):
            started = time.monotonic()
            await cluster.kubectl("chatcluster", "switchover", "demo", "-n", "chat")
            waits.append(await ledger.gap(TALK_SECONDS))
            await asyncio.sleep(max(0.0, SWITCHOVER_SECONDS - (time.monotonic() - started)))
        await instances.complete(3)
        account = await ledger.finish()
        waits.sort()
        tell(
            f"{len(waits)} switchovers: longest wait for an acknowledgement {waits[-1]:.1f} s, median "
            f"{waits[len(waits) // 2]:.1f} s\n{account}"
        )
        assert account.clean, account
