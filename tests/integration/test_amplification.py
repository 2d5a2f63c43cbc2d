"""What one user can make a server do is bounded, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.device_limit import DEVICES_OF_A_USER
from tests.support.devices import Socket, sign_in
from tests.support.filling import fill_chats
from tests.support.processes import Usage
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

CHATS = 5000
SYNCS = 128
SOCKETS = 4

# What four connections may take beyond what they had: outboxes, frames being parsed, and the answers under way.
MEMORY_MIB = 100

MORE_CHATS = """
WITH ana AS (SELECT user_id FROM users WHERE username = 'ana'), made AS (
    INSERT INTO chats (chat_id, kind, last_seq, last_at)
    SELECT 5000000 + n, 'group', 1, now() FROM generate_series(1, 300) AS n RETURNING chat_id
), messaged AS (
    INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at)
    SELECT chat_id, 1, ana.user_id, 'hello', now() FROM made, ana
)
INSERT INTO chat_members (chat_id, user_id) SELECT chat_id, user_id FROM made, ana
"""


async def test_syncs_of_one_user_take_neither_the_memory_nor_the_places_of_others(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        eve, ana = await sign_in(server, "eve"), await sign_in(server, "ana")
        await fill_chats(read_dsn, eve.user_id, chats=CHATS, messages_each=1)
        postgres.sql(MORE_CHATS, read_dsn().rsplit("/", 1)[1])
        sync = json.dumps({"type": "sync", "chats": {str(1_000_000 + n): 0 for n in range(1, CHATS + 1)}})
        async with AsyncExitStack() as stack:
            phones = [eve, *[await sign_in(server, phone_number=eve.phone_number) for _ in range(SOCKETS - 1)]]
            sockets = [await stack.enter_async_context(phone.socket(server)) for phone in phones]
            before = Usage.of(server.pid)
            await asyncio.gather(*(_send(socket, sync) for socket in sockets))
            async with ana.socket(server) as a:
                await a.send(type="sync", chats={})
                await a.of_type("synced", more=False)
                assert len(a.rows()) == 300
            answers = await asyncio.gather(*(_count_answers(socket) for socket in sockets))
            grown_mib = Usage.of(server.pid).peak_mib - before.memory_mib
        # The one that ran and the newest; a few more where one was done before the next was read.
        assert all(1 <= answered < SYNCS / 4 for answered in answers)
        assert grown_mib < MEMORY_MIB


async def _send(socket: Socket, sync: str) -> None:
    for _ in range(SYNCS):
        await socket.connection.send(sync)


async def _count_answers(socket: Socket) -> int:
    """Return how many syncs were answered, once nothing more is to come; what they brought is dropped."""
    answered = 0
    await socket.send(type="ping")
    await socket.send(type="sync", chats={})
    ponged = False
    async with asyncio.timeout(120):
        while True:
            frame = json.loads(await socket.connection.recv())
            ponged = ponged or frame["type"] == "pong"
            answered += 1 if frame["type"] == "synced" else 0
            if ponged and frame["type"] == "synced":
                return answered


async def test_the_device_that_was_used_longest_ago_is_signed_out_when_they_are_too_many(
    process: ServerProcess, postgres: PostgresCluster
) -> None:
    first = await sign_in(process)
    devices = [await sign_in(process, phone_number=first.phone_number) for _ in range(DEVICES_OF_A_USER - 1)]
    database = process.dsn.rsplit("/", 1)[1]
    age = f"UPDATE devices SET last_used = last_used - interval '1 day' WHERE device_id = {devices[3].device_id}"  # noqa: S608
    postgres.sql(age, database)
    async with devices[3].socket(process) as oldest, first.socket(process) as used:
        last = await sign_in(process, phone_number=first.phone_number)
        assert await oldest.close_code() == 4001
        await used.send(type="ping")
        await used.of_type("pong")
        async with last.http(process) as http:
            listed = (await http.get("/api/devices")).json()
    ids = [device["device_id"] for device in listed]
    assert len(ids) == DEVICES_OF_A_USER
    assert devices[3].device_id not in ids
