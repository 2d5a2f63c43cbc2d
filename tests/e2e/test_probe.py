"""The probe of `demo`: round trips through the whole chain, none lost while a chatserver is killed, and its removal."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import Cluster, until
from tests.support.clusterapi import RequestRefusedError
from tests.support.findings import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WITHIN_SECONDS = 240
ROUND_TRIPS = "chatprobe_round_trip_seconds_count"
INVARIANTS = ("chatprobe_lost_total", "chatprobe_duplicated_total", "chatprobe_reordered_total")


@asynccontextmanager
async def probing(cluster: Cluster) -> AsyncIterator[None]:
    """The probe of `demo`, each second; disabled again at the end."""
    await cluster.patch({"monitoring": {"probe": {"enabled": True, "intervalSeconds": 1}}})
    try:
        await more_round_trips(cluster, 1)
        yield
    finally:
        await cluster.patch({"monitoring": {"probe": {"enabled": False, "intervalSeconds": 10}}})


async def value(cluster: Cluster, name: str) -> float:
    return await cluster.metric("probe", name)


async def more_round_trips(cluster: Cluster, count: int) -> None:
    """Wait until so many more messages have arrived."""
    start: float | None = None

    async def enough() -> bool:
        nonlocal start
        pods = [pod for pod in await cluster.pods("probe") if pod["status"].get("phase") == "Running"]
        if not pods:
            return False
        try:
            found = await value(cluster, ROUND_TRIPS)
        except RequestRefusedError:
            # The pod does not answer yet.
            return False
        start = found if start is None else start
        return found >= start + count

    await until(enough, f"{count} more messages of the probe arrive", WITHIN_SECONDS)


async def test_a_probe_counts_round_trips_and_no_loss_while_a_chatserver_is_killed(cluster: Cluster) -> None:
    before = await cluster.uids("chatserver")
    async with probing(cluster):
        assert await cluster.uids("chatserver") == before, "it restarts no server"
        await more_round_trips(cluster, 10)
        victim = (await cluster.pods("chatserver"))[0]
        await cluster.kubectl("delete", "pod", "-n", "chat", victim["metadata"]["name"], "--grace-period=0", "--force")
        await more_round_trips(cluster, 20)
        found = {name: await value(cluster, name) for name in INVARIANTS}
        trips, failed = (
            await value(cluster, ROUND_TRIPS),
            await cluster.metric("probe", "chatprobe_failures_total", label='step="send"'),
        )
        tell(f"probe: {trips:.0f} round trips, {failed:.0f} failed sends, a chatserver killed: {found}")
        assert set(found.values()) == {0.0}
        assert await value(cluster, "chatprobe_certificate_expiry_timestamp_seconds") > 0
        await cluster.ready()


@pytest.mark.soak
async def test_new_tokens_replace_the_old_ones_and_a_disabled_probe_is_gone(cluster: Cluster) -> None:
    async with probing(cluster):
        old = await tokens(cluster)
        await cluster.kubectl("delete", "secret", "-n", "chat", "demo-probe")

        async def replaced() -> bool:
            found = await cluster.kubectl(
                "get", "secret", "-n", "chat", "demo-probe", "--ignore-not-found", "-o", "name"
            )
            return bool(found.strip()) and await tokens(cluster) != old

        await until(replaced, "the Secret has other tokens", WITHIN_SECONDS)
        await more_round_trips(cluster, 5)
        alive = "SELECT count(*) FROM devices WHERE is_probe AND revoked_at IS NULL"

        async def only_the_new() -> bool:
            return (await cluster.psql(alive)).strip() == "2"

        await until(only_the_new, "only the new tokens are valid", WITHIN_SECONDS)
        logs = await cluster.kubectl("logs", "-n", "chat", "deployment/demo-probe")
        assert not any(token in logs for token in [*old, *await tokens(cluster)])

    async def gone() -> bool:
        none_alive = (await cluster.psql(alive)).strip() == "0"
        return none_alive and not await cluster.pods("probe")

    await until(gone, "the probe and its tokens are gone", WITHIN_SECONDS)
    await cluster.ready()


async def tokens(cluster: Cluster) -> list[str]:
    secret = await cluster.get("secret", "demo-probe")
    return base64.b64decode(secret["data"]["tokens"]).decode().split()
