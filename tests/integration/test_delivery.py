"""Delivery without a bus: the database alone brings every row, to those who follow a chat and those new to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.devices import Devices
from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.delivery import Deliverer
from chatserver.fanout.hub import Hub
from chatserver.hints import Hint, MembershipChange
from chatserver.messaging import groups, sync
from chatserver.messaging.messages import send_message
from chatserver.messaging.row_views import frame_of_row
from chatserver.messaging.writer import MessageWriter
from chatserver.metrics import Metrics
from chatserver.model import ReceiptMark, SendMessage, SeqRange
from tests.support.people import Server, sign_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

pytestmark = pytest.mark.integration

WAIT_SECONDS = 30


class SilentBus:
    """A bus whose hints never arrive."""

    def is_healthy(self) -> bool:
        return False

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Lose the hints."""

    async def register(self, user_ids: Collection[int]) -> None:
        """Have hints sent that never arrive."""

    async def register_watched(self, user_ids: Collection[int]) -> None:
        """Have hints sent that never arrive."""

    async def run(self) -> None:
        """Hear nothing."""


@asynccontextmanager
async def delivering(server: Server, *, healing: bool) -> AsyncIterator[tuple[Hub, Deliverer]]:
    hub = Hub()
    devices, bus = Devices(server.database, on_ended=hub.sign_out), SilentBus()
    deliverer = Deliverer(server.database, devices, hub, Metrics().delivery, bus.register, bus.register_watched)
    tasks = [asyncio.create_task(deliverer.run())]
    if healing:
        tasks.append(asyncio.create_task(deliverer.recovery.run(bus)))
    try:
        yield hub, deliverer
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def connect(hub: Hub, deliverer: Deliverer, user_id: int, device_id: int) -> ClientConnection:
    await deliverer.arrivals.expect(user_id)
    connection = ClientConnection(f"c{device_id}", user_id, device_id)
    hub.registry.claim(connection)
    hub.add(connection)
    return connection


async def taken(connection: ClientConnection) -> list[bytes]:
    """Wait for frames, or for the order to close, and return the frames."""
    there = asyncio.Event()
    connection.outbox.attach(there.set)
    await there.wait()
    return connection.outbox.take()


async def seqs(connection: ClientConnection, count: int) -> list[int]:
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
    await server.receipts.mark(bob.user.user_id, {chat_id: ReceiptMark(1, None)})
    await server.database.execute("UPDATE receipts SET at = now() - interval '1 hour'")
    async with delivering(server, healing=True) as (hub, deliverer):
        a = await connect(hub, deliverer, ana.user.user_id, ana.device_id)
        for mark in (ReceiptMark(1, 1), ReceiptMark(2, 1)):
            if mark.delivered_seq == 2:
                await server.send(ana.user.user_id, "new", chat_id=chat_id)
            await server.receipts.mark(bob.user.user_id, {chat_id: mark})
            wanted = {"type": "receipt", "chat_id": chat_id, "user_id": bob.user.user_id}
            assert await receipt_like(a, wanted | {"delivered_seq": mark.delivered_seq, "read_seq": mark.read_seq})


async def receipt_like(connection: ClientConnection, wanted: dict[str, object]) -> bool:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if wanted in [json.loads(frame) for frame in await taken(connection)]:
                return True


async def test_watermarks_raised_long_ago_are_not_told_again(server: Server) -> None:
    await sign_in(server.database, "ana")
    bob = await sign_in(server.database, "bob")
    chat_id = (await server.send(bob.user.user_id, "own", to="ana")).chat_id
    assert [r.user_id for r in await sync.receipts_of(server.database, [chat_id], within_seconds=600)] == []
    await server.receipts.mark(bob.user.user_id, {chat_id: ReceiptMark(1, 1)})
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
        deliverer.receive(Hint("other", members=(MembershipChange(group.chat_id, (bob.user.user_id,)),)))
        assert await seqs(b, 1) == [1]


@asynccontextmanager
async def writing(server: Server, deliverer: Deliverer) -> AsyncIterator[MessageWriter]:
    writer = MessageWriter(server.database, deliverer.own_batches)
    writer.start()
    try:
        yield writer
    finally:
        await writer.close(timeout_seconds=2)


async def test_what_a_server_stores_reaches_its_own_members_without_hints_as_others_would_read_it(
    server: Server,
) -> None:
    ana, bob, eve = [await sign_in(server.database, name) for name in ("ana", "bob", "eve")]
    group = await groups.create_group(server.database, ana.user.user_id, "Team", ["bob", "eve"])
    direct = (await server.send(ana.user.user_id, "first", to="bob")).chat_id
    async with delivering(server, healing=False) as (hub, deliverer), writing(server, deliverer) as writer:
        b = await connect(hub, deliverer, bob.user.user_id, bob.device_id)
        e = await connect(hub, deliverer, eve.user.user_id, eve.device_id)
        await groups.remove_member(server.database, ana.user.user_id, group.chat_id, eve.user.user_id)
        deliverer.receive(Hint("other", ranges=(SeqRange(group.chat_id, 2, 2),)))
        assert await seqs(b, 1) == await seqs(e, 1) == [2]
        for chat_id, to in ((direct, "bob"), (group.chat_id, None)):
            sent = await send_message(
                server.database, writer, ana.user.user_id, SendMessage(chat_id=chat_id, text="hello", reply_to=None)
            )
            async with asyncio.timeout(WAIT_SECONDS):
                [frame] = await taken(b)
            pushed = json.loads(frame)["message"]
            assert (pushed["chat_id"], pushed["seq"], pushed["to"]) == (chat_id, sent.seq, to)
            [read] = await sync.rows_for(server.database, [SeqRange(chat_id, sent.seq, sent.seq)], [bob.user.user_id])
            assert frame == frame_of_row(read.row)
        assert len(e.outbox) == 0


async def test_rows_of_other_servers_come_before_the_own_ones_behind_them(server: Server) -> None:
    ana, bob = await sign_in(server.database, "ana"), await sign_in(server.database, "bob")
    chat_id = (await server.send(ana.user.user_id, "first", to="bob")).chat_id
    async with delivering(server, healing=False) as (hub, deliverer), writing(server, deliverer) as writer:
        b = await connect(hub, deliverer, bob.user.user_id, bob.device_id)
        await server.send(ana.user.user_id, "of another server, its hint is lost", chat_id=chat_id)
        await send_message(server.database, writer, ana.user.user_id, SendMessage(chat_id=chat_id, text="of this one"))
        assert await seqs(b, 2) == [2, 3]


async def test_the_same_message_twice_in_one_moment_is_stored_once(server: Server) -> None:
    ana, _bob = await sign_in(server.database, "ana"), await sign_in(server.database, "bob")
    chat_id = (await server.send(ana.user.user_id, "first", to="bob")).chat_id
    client_id = "3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11"
    sends = [server.send(ana.user.user_id, "again", chat_id=chat_id, client_id=client_id) for _ in range(3)]
    sent = await asyncio.gather(*sends, server.send(ana.user.user_id, "next", chat_id=chat_id))
    assert [(one.seq, one.duplicate) for one in sent] == [(2, False), (2, True), (2, True), (3, False)]


async def test_what_is_committed_while_a_user_is_registered_is_in_the_positions(server: Server) -> None:
    """Its hint may go to the servers of before."""
    ada, bob = [await sign_in(server.database, name) for name in ("Ada", "Bob")]
    chat_id = (await server.send(bob.user.user_id, "before", to="Ada")).chat_id
    hub, bus = Hub(), SilentBus()

    async def register(_: Collection[int]) -> None:
        await server.send(bob.user.user_id, "meanwhile", chat_id=chat_id)

    devices = Devices(server.database, on_ended=hub.sign_out)
    deliverer = Deliverer(server.database, devices, hub, Metrics().delivery, register, bus.register_watched)
    await deliverer.arrivals.expect(ada.user.user_id)
    assert hub.following.needed_after(chat_id) == 2
