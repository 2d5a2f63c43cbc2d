"""Who is online is true on every server: after a normal end, on another server, and when a server was killed."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.hints import HINT_CHANNEL, Hint
from chatserver.model import Principal
from chatserver.storage import presence
from chatserver.storage.messages import open_direct_chat
from tests.support.devices import Device, Socket, sign_in
from tests.support.inprocess import ChatServer, Wire
from tests.support.people import Server
from tests.support.people import sign_in as join
from tests.support.playedbus import Air, published
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chatserver.storage.calls import CallTimes
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

Servers = tuple[ServerProcess, ServerProcess]


@pytest.fixture
def two(read_dsn: Callable[[], str]) -> Iterator[Servers]:
    with (
        ServerProcess(read_dsn(), "one", CHAT_HEARTBEAT_SECONDS=0.3) as one,
        ServerProcess(read_dsn(), "two", CHAT_HEARTBEAT_SECONDS=0.3) as other,
    ):
        one.wait_ready()
        other.wait_ready()
        yield one, other


async def online(socket: Socket, user_id: int) -> bool:
    """Return what a connection is told of a user whom it begins to watch."""
    socket.frames.clear()
    await socket.send(type="subscribe", user_ids=[user_id])
    frame = await socket.of_type("presence", user_id=user_id)
    return bool(frame["online"])


async def turns(socket: Socket, user_id: int, *, is_online: bool) -> None:
    await socket.of_type("presence", user_id=user_id, online=is_online)
    socket.frames.clear()


async def meet(server: ServerProcess, *devices: Device) -> None:
    """Put some users into a group: only users who share a chat see each other's presence."""
    first, *others = devices
    async with first.http(server) as http:
        made = {"group_name": "All", "members": [device.phone_number for device in others]}
        assert (await http.post("/api/groups", json=made)).status_code == httpx.codes.CREATED


async def test_whoever_subscribes_right_after_somebody_left_is_told_that_they_are_offline(two: Servers) -> None:
    one, other = two
    ana, ben, eve = [await sign_in(one, name) for name in ("ana", "ben", "eve")]
    await meet(one, ana, ben, eve)
    async with ana.socket(one) as a, eve.socket(one) as e:
        assert not await online(a, ben.user_id)
        async with ben.socket(other):
            await turns(a, ben.user_id, is_online=True)
            assert await online(e, ben.user_id)
        await turns(a, ben.user_id, is_online=False)
        assert not await online(e, ben.user_id)


async def test_who_is_on_two_servers_turns_offline_with_the_last_one_only(
    two: Servers, postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    one, other = two
    database = read_dsn().rsplit("/", 1)[1]

    async def written(*, at_two: bool) -> None:
        async with asyncio.timeout(20):
            while bool(postgres.sql("SELECT user_id FROM presence WHERE server_name = 'two'", database)) != at_two:
                await asyncio.sleep(0.05)

    ana, phone = await sign_in(one, "ana"), await sign_in(one, "ben")
    laptop = await sign_in(one, phone_number=phone.phone_number)
    await meet(one, ana, phone)
    async with ana.socket(one) as a:
        await a.send(type="subscribe", user_ids=[phone.user_id])
        async with phone.socket(one):
            await turns(a, phone.user_id, is_online=True)
            async with laptop.socket(other):
                await written(at_two=True)
            await written(at_two=False)
            assert not [frame for frame in a.frames if frame["type"] == "presence"]
            assert await online(a, phone.user_id)
        await turns(a, phone.user_id, is_online=False)


@pytest.mark.parametrize("returns", [False, True], ids=["never to return", "and comes back under its name"])
async def test_users_of_a_killed_server_turn_offline_for_their_watchers(two: Servers, returns: bool) -> None:  # noqa: FBT001
    one, other = two
    ana, ben, eve = [await sign_in(one, name) for name in ("ana", "ben", "eve")]
    await meet(one, ana, ben, eve)
    async with ana.socket(one) as a, eve.socket(one) as e:
        await a.send(type="subscribe", user_ids=[ben.user_id])
        async with ben.socket(other):
            await turns(a, ben.user_id, is_online=True)
            other.signal(signal.SIGKILL)
            other.wait(20)
            if returns:
                other.spawn()
            await turns(a, ben.user_id, is_online=False)
            assert not await online(e, ben.user_id)
        async with ben.http(one) as http:
            assert (await http.get("/api/users/me")).json()["last_seen"] is not None


async def test_servers_that_a_user_leaves_and_comes_to_at_once_tell_it_once_and_truly(server: Server) -> None:
    # More than fit into one hint.
    user_ids = [(await join(server.database)).user.user_id for _ in range(3)]
    strangers = list(range(10_000, 10_200))
    heard: list[tuple[int, int]] = []
    marks: list[str] = []

    def hear(payload: str) -> None:
        if payload.startswith("mark"):
            marks.append(payload)
        else:
            heard.extend(Hint.decode(payload).presence)

    async def turns() -> list[tuple[int, int]]:
        """Return the turns in all hints since the last call, in any order: each hint goes when its commit is known."""
        await published(server.database)
        await server.database.execute("SELECT pg_notify($1, $2)", HINT_CHANNEL, "mark")
        async with asyncio.timeout(20):
            while not marks:
                await asyncio.sleep(0.01)
        marks.clear()
        told = list(heard)
        heard.clear()
        return told

    async def write(name: str, came: Sequence[int], went: Sequence[int]) -> None:
        await presence.turn(server.database, name, came=came, went=went)

    listener = await server.database.listen(hear)
    await write("one", [*user_ids, *strangers], [])
    assert sorted(await turns()) == [(user_id, 1) for user_id in [*strangers, *user_ids]]
    for _ in range(20):
        await write("two", user_ids, [])
        await asyncio.gather(write("one", [], user_ids), write("two", [], user_ids[::-1]))
        assert sorted(await turns()) == [(user_id, 0) for user_id in user_ids]
        # One leaves while the other is come to: who hears of it reads how it stands.
        await write("one", user_ids, [])
        await asyncio.gather(write("one", [], user_ids), write("two", user_ids, []))
        assert set(dict(await turns())) == set(user_ids)
        states = await presence.states(server.database, user_ids)
        assert all(states[user_id].online for user_id in user_ids)
        await write("two", [], user_ids)
        await write("one", user_ids, [])
        await turns()
    listener.close()


async def test_a_subscription_is_one_query_and_a_newer_one_replaces_the_one_that_waits(
    read_dsn: Callable[[], str],
) -> None:
    air = Air(read_dsn)
    await air.open()
    chat_server = ChatServer(read_dsn, "one", air)
    await chat_server.start()
    try:
        database = chat_server.database
        ana = await join(database, "Ana")
        others = [(await join(database)).user.user_id for _ in range(4)]
        for user_id in others:
            await open_direct_chat(database, ana.user.user_id, user_id)
        wire = Wire(chat_server, Principal(ana.user.user_id, ana.device_id))
        await wire.open()
        queries = 0

        def count(_call: CallTimes) -> None:
            nonlocal queries
            queries += 1

        database._on_call = count
        # Users whom nobody knows are as expensive as others.
        for first in range(50):
            wire.submit({"type": "subscribe", "user_ids": [*others, *range(100_000 + first, 100_900 + first)]})
        await chat_server.quiet()
        frames = [frame for frame in wire.take() if frame["type"] == "presence"]
        assert queries <= 2
        assert {frame["user_id"] for frame in frames} == set(others)
        assert not any(frame["online"] for frame in frames)
        assert not chat_server.failures
    finally:
        await chat_server.kill()
        await air.close()


async def test_who_came_and_went_before_it_was_written_is_offline_for_whoever_was_told(
    read_dsn: Callable[[], str],
) -> None:
    air = Air(read_dsn)
    await air.open()
    chat_server = ChatServer(read_dsn, "one", air)
    await chat_server.start()
    try:
        ana, ben = await join(chat_server.database), await join(chat_server.database)
        await open_direct_chat(chat_server.database, ana.user.user_id, ben.user.user_id)
        wires = [Wire(chat_server, Principal(who.user.user_id, who.device_id)) for who in (ana, ben)]
        for wire in wires:
            await wire.open()
        wires[0].submit({"type": "subscribe", "user_ids": [ben.user.user_id]})
        await chat_server.quiet()
        wires[1].close()
        await chat_server.context.deliverer.presence.flush()
        told = [frame["online"] for frame in wires[0].take() if frame["type"] == "presence"]
        assert told == [True, False]
    finally:
        await chat_server.kill()
        await air.close()


async def test_whoever_is_in_doubt_while_another_is_told_of_a_turn_is_told_of_it_too(
    read_dsn: Callable[[], str],
) -> None:
    air = Air(read_dsn)
    await air.open()
    here = ChatServer(read_dsn, "here", air)
    await here.start()
    try:
        ana, ben, cat = [await join(here.database) for _ in range(3)]
        for watcher in (ana, cat):
            await open_direct_chat(here.database, watcher.user.user_id, ben.user.user_id)
        await air.catch_up()
        here.hear_all()
        wires = [Wire(here, Principal(who.user.user_id, who.device_id)) for who in (ana, cat)]
        for wire in wires:
            await wire.open()
        wires[0].submit({"type": "subscribe", "user_ids": [ben.user.user_id]})
        await here.quiet()
        # Who subscribes reads what another server has committed, and its hint comes later.
        await presence.turn(here.database, "there", came=[ben.user.user_id], went=[])
        await air.catch_up()
        wires[1].submit({"type": "subscribe", "user_ids": [ben.user.user_id]})
        await here.quiet()
        here.context.deliverer.watches.doubt_users([ana.user.user_id])
        here.hear_all()
        await here.quiet()
        told = [[frame["online"] for frame in wire.take() if frame["type"] == "presence"] for wire in wires]
        assert [online[-1] for online in told] == [True, True]
        assert not here.failures
    finally:
        await here.kill()
        await air.close()
