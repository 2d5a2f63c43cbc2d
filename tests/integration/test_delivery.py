"""Delivery without a bus: the database alone brings every row, to those who follow a chat and those new to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chatserver.connection import Connection
from chatserver.hub import Hub
from chatserver.metrics import Metrics
from chatserver.model import Hint, MembershipNews, ReceiptMark
from chatserver.services import groups, receipts, sync
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
    hub.claim(connection)
    hub.add(connection)
    return connection


async def taken(connection: Connection) -> list[bytes]:
    """Wait for frames, or for the order to close, and return the frames."""
    there = asyncio.Event()
    connection.outbox.attach(there.set)
    await there.wait()
    return connection.outbox.take()


async def seqs(connection: Connection, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(found) < count:
            frames = [json.loads(frame) for frame in await taken(connection)]
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


async def test_receipts_reach_their_reader_though_all_hints_are_lost(server: Server) -> None:
    ana, bob = await sign_in(server.database, "ana"), await sign_in(server.database, "bob")
    chat_id = (await server.send(ana.user.user_id, "old", to="bob")).chat_id
    await receipts.mark(server.database, bob.user.user_id, {chat_id: ReceiptMark(1, None)})
    await server.database.execute("UPDATE receipts SET at = now() - interval '1 hour'")
    async with delivering(server, healing=True) as (hub, deliverer):
        a = await connect(hub, deliverer, ana.user.user_id, ana.device_id)
        for mark in (ReceiptMark(1, 1), ReceiptMark(2, 1)):
            if mark.delivered_seq == 2:
                await server.send(ana.user.user_id, "new", chat_id=chat_id)
            await receipts.mark(server.database, bob.user.user_id, {chat_id: mark})
            wanted = {"type": "receipt", "chat_id": chat_id, "user_id": bob.user.user_id}
            assert await receipt_like(a, wanted | {"delivered_seq": mark.delivered_seq, "read_seq": mark.read_seq})


async def receipt_like(connection: Connection, wanted: dict[str, object]) -> bool:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if wanted in [json.loads(frame) for frame in await taken(connection)]:
                return True


async def test_watermarks_raised_long_ago_are_not_told_again(server: Server) -> None:
    await sign_in(server.database, "ana")
    bob = await sign_in(server.database, "bob")
    chat_id = (await server.send(bob.user.user_id, "own", to="ana")).chat_id
    assert [r.user_id for r in await sync.receipts_of(server.database, [chat_id], within_seconds=600)] == []
    await receipts.mark(server.database, bob.user.user_id, {chat_id: ReceiptMark(1, 1)})
    assert [r.user_id for r in await sync.receipts_of(server.database, [chat_id], within_seconds=600)] == [
        bob.user.user_id
    ]
    await server.database.execute("UPDATE receipts SET at = now() - interval '1 hour'")
    assert await sync.receipts_of(server.database, [chat_id], within_seconds=600) == []


async def test_a_revoked_device_is_closed_though_its_hint_was_lost(server: Server) -> None:
    ana = await sign_in(server.database, "ana")
    async with delivering(server, healing=True) as (hub, deliverer):
        a = await connect(hub, deliverer, ana.user.user_id, ana.device_id)
        await Devices(server.database).revoke(ana.user.user_id, ana.device_id)
        async with asyncio.timeout(WAIT_SECONDS):
            assert await taken(a) == []
        assert a.outbox.order is not None
        assert a.outbox.order.code == 4001


async def test_news_of_a_group_that_came_apart_from_its_rows_bring_them(server: Server) -> None:
    ana, bob = await sign_in(server.database, "ana"), await sign_in(server.database, "bob")
    async with delivering(server, healing=False) as (hub, deliverer):
        b = await connect(hub, deliverer, bob.user.user_id, bob.device_id)
        group = await groups.create_group(server.database, ana.user.user_id, "Team", ["bob"])
        deliverer.hear(Hint("other", members=(MembershipNews(group.chat_id, (bob.user.user_id,)),)))
        assert await seqs(b, 1) == [1]
