"""Presence and typing with Valkey as the bus: they arrive, and are sent only where somebody is whom they concern."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from chatserver.model import Principal
from chatserver.storage.messages import open_direct_chat
from tests.support.devices import Socket, sign_in
from tests.support.inprocess import ChatServer, Wire
from tests.support.people import sign_in as join
from tests.support.playedbus import Air
from tests.support.server import ServerProcess
from tests.support.valkey import ValkeyProcess, bus_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chatserver.hints import Hint

pytestmark = pytest.mark.integration

WAIT_SECONDS = 60


async def turns(socket: Socket, user_id: int, *, is_online: bool) -> None:
    await socket.of_type("presence", user_id=user_id, online=is_online)
    socket.frames.clear()


async def watched_at(valkey: ValkeyProcess, wanted: dict[int, set[str]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while {
            user_id: {name.rpartition(".")[0] for name in names}
            for user_id, names in valkey.registry("watched").items()
        } != wanted:
            await asyncio.sleep(0.05)


async def test_presence_reaches_the_server_of_a_watcher_also_after_valkey_was_flushed_or_restarted(
    read_dsn: Callable[[], str],
) -> None:
    with ExitStack() as stack:
        valkey = stack.enter_context(ValkeyProcess())
        one, other = (
            stack.enter_context(ServerProcess(read_dsn(), f"server-{number}", **bus_environment([valkey])))
            for number in range(2)
        )
        for process in (one, other):
            await asyncio.to_thread(process.wait_ready)
        ana, ben = [await sign_in(one, name) for name in ("ana", "ben")]
        async with ana.socket(one) as a:
            # Only users who share a chat see each other's presence.
            await a.message("hello", to="ben")
            await a.send(type="subscribe", user_ids=[ben.user_id])
            await turns(a, ben.user_id, is_online=False)
            await watched_at(valkey, {ben.user_id: {"server-0"}})
            async with ben.socket(other):
                await turns(a, ben.user_id, is_online=True)
                valkey.call("FLUSHALL")
                await watched_at(valkey, {ben.user_id: {"server-0"}})
            await turns(a, ben.user_id, is_online=False)
            await asyncio.to_thread(valkey.kill)
            async with ben.socket(other):
                # While it is down, too.
                await turns(a, ben.user_id, is_online=True)
                await asyncio.to_thread(valkey.start)
                await watched_at(valkey, {ben.user_id: {"server-0"}})
            await turns(a, ben.user_id, is_online=False)
            await a.send(type="subscribe", user_ids=[])
            await watched_at(valkey, {})


async def test_typing_is_published_once_it_is_known_who_the_members_are(read_dsn: Callable[[], str]) -> None:
    air = Air(read_dsn)
    await air.open()
    server = ChatServer(read_dsn, "one", air, by_valkey=True)
    await server.start()
    published: list[tuple[tuple[int, int], frozenset[int] | None]] = []

    async def publish(hints: Sequence[Hint]) -> None:
        for hint in hints:
            published.extend((typed, server.context.hub.members.of(typed[0])) for typed in hint.typing)

    try:
        ana, ben = await join(server.database), await join(server.database)
        chat_id = await open_direct_chat(server.database, ana.user.user_id, ben.user.user_id)
        assert chat_id is not None
        wire = Wire(server, Principal(ana.user.user_id, ana.device_id))
        await wire.open()
        server.database.hints.publish_by(publish)
        wire.submit({"type": "typing", "chat_id": chat_id})
        async with asyncio.timeout(WAIT_SECONDS):
            while not published:
                await asyncio.sleep(0.01)
        assert published == [((chat_id, ana.user.user_id), frozenset({ana.user.user_id, ben.user.user_id}))]
        assert not server.failures
    finally:
        await server.kill()
        await air.close()
