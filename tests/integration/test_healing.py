"""What a server heals when it hears the bus again: also of chats that began meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from chatserver.fanout.connection import PushedRow
from chatserver.model import Principal, ReceiptMark
from tests.support.inprocess import ChatServer, Wire
from tests.support.people import Server, sign_in
from tests.support.playedbus import Air
from tests.support.valkey import BUSES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.integration

HEALED_SECONDS = 20


@contextlib.asynccontextmanager
async def _apart(
    read_dsn: Callable[[], str], name: str, *, by_valkey: bool = False
) -> AsyncIterator[tuple[Air, ChatServer]]:
    """A server that hears what the test lets it hear, and where it is heard."""
    air = Air(read_dsn)
    await air.open()
    server = ChatServer(read_dsn, name, air, by_valkey=by_valkey)
    await server.start()
    try:
        yield air, server
    finally:
        await server.kill()
        await air.close()


@pytest.mark.parametrize("bus", BUSES)
async def test_receipts_of_a_chat_that_began_while_the_bus_was_lost_are_told(
    server: Server, read_dsn: Callable[[], str], bus: str
) -> None:
    ada, bob = [await sign_in(server.database, name) for name in ("Ada", "Bob")]
    async with _apart(read_dsn, "deaf", by_valkey=bus == "Valkey") as (air, deaf):
        wire = Wire(deaf, Principal(ada.user.user_id, ada.device_id))
        await wire.open()
        deaf.lose_bus()
        sent = await server.send(ada.user.user_id, "hi", to="Bob")
        await server.receipts.mark(bob.user.user_id, {sent.chat_id: ReceiptMark(read_seq=sent.seq)})
        await air.catch_up()
        deaf.regain_bus()
        told = {"message": False, "receipt": False}
        async with asyncio.timeout(HEALED_SECONDS):
            while not all(told.values()):
                for frame in wire.take():
                    told["message"] |= frame["type"] == "message"
                    told["receipt"] |= frame["type"] == "receipt" and frame["read_seq"] == sent.seq
                await asyncio.sleep(0.05)


async def test_what_is_pushed_right_after_a_sync_was_asked_for_comes_once(
    server: Server, read_dsn: Callable[[], str]
) -> None:
    ada, bob = [await sign_in(server.database, name) for name in ("Ada", "Bob")]
    sent = await server.send(bob.user.user_id, "hi", to="Ada")
    async with _apart(read_dsn, "behind") as (_, behind):
        hub = behind.context.hub
        wire = Wire(behind, Principal(ada.user.user_id, ada.device_id))
        # Somebody else follows the chat here, and what it has come to is still under way.
        await behind.context.deliverer.arrivals.expect(bob.user.user_id)
        hub.unfollow(bob.user.user_id, sent.chat_id)
        hub.following.follow(bob.user.user_id, sent.chat_id, 0)
        await wire.open()
        wire.submit({"type": "sync", "chats": {}})
        row = PushedRow(sent.chat_id, sent.seq, bob.user.user_id, "other", b'{"type":"message"}', (ada.user.user_id,))
        hub.push(sent.chat_id, [row], sent.seq)
        await behind.quiet()
        assert [frame["type"] for frame in wire.take()] == ["welcome", "message", "synced"]
