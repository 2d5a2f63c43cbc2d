"""Delivery without a bus: the database alone brings every row, to those who follow a chat and those new to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chatserver.hub import Connection, Hub
from chatserver.metrics import Metrics
from chatserver.model import Hint, MembershipNews
from chatserver.services import groups
from chatserver.services.delivery import Deliverer
from chatserver.services.devices import Devices
from tests.support.people import Server, sign_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.integration

WAIT_SECONDS = 30


class SilentBus:
    """A bus whose hints never arrive."""

    def is_healthy(self) -> bool:
        return False

    async def publish(self, hint: Hint) -> None:
        """Lose the hint."""

    async def run(self) -> None:
        """Hear nothing."""


@asynccontextmanager
async def delivering(server: Server, *, healing: bool) -> AsyncIterator[tuple[Hub, Deliverer]]:
    hub = Hub()
    deliverer = Deliverer(server.database, Devices(server.database), hub, Metrics())
    tasks = [asyncio.create_task(deliverer.run())]
    if healing:
        tasks.append(asyncio.create_task(deliverer.run_healing(SilentBus())))
    try:
        yield hub, deliverer
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def connect(hub: Hub, deliverer: Deliverer, user_id: int, device_id: int) -> Connection:
    await deliverer.learn(user_id)
    connection = Connection(f"c{device_id}", user_id, device_id)
    hub.add(connection)
    return connection


async def seqs(connection: Connection, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(found) < count:
            frames = [json.loads(frame) for frame in await connection.outbox.take()]
            found += [frame["message"]["seq"] if frame["type"] == "message" else frame["seq"] for frame in frames]
    return found


async def test_without_any_hint_rows_and_new_chats_arrive_in_order(server: Server) -> None:
    ana, bob = await sign_in(server.database, "ana"), await sign_in(server.database, "bob")
    async with delivering(server, healing=True) as (hub, deliverer):
        b = await connect(hub, deliverer, bob.user.user_id, bob.device_id)
        for number in range(3):
            await server.send(ana.user.user_id, str(number), to="bob")
        assert await seqs(b, 3) == [1, 2, 3]
        await server.send(ana.user.user_id, "later", to="bob")
        assert await seqs(b, 1) == [4]


async def test_a_revoked_device_is_closed_though_its_hint_was_lost(server: Server) -> None:
    ana = await sign_in(server.database, "ana")
    async with delivering(server, healing=True) as (hub, deliverer):
        a = await connect(hub, deliverer, ana.user.user_id, ana.device_id)
        await Devices(server.database).revoke(ana.user.user_id, ana.device_id)
        async with asyncio.timeout(WAIT_SECONDS):
            assert await a.outbox.take() == []
        assert a.outbox.order is not None
        assert a.outbox.order.code == 4001


async def test_news_of_a_group_that_came_apart_from_its_rows_bring_them(server: Server) -> None:
    ana, bob = await sign_in(server.database, "ana"), await sign_in(server.database, "bob")
    async with delivering(server, healing=False) as (hub, deliverer):
        b = await connect(hub, deliverer, bob.user.user_id, bob.device_id)
        group = await groups.create_group(server.database, ana.user.user_id, "Team", ["bob"])
        deliverer.hear(Hint("other", members=(MembershipNews(group.chat_id, (bob.user.user_id,)),)))
        assert await seqs(b, 1) == [1]
