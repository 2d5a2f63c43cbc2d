"""Vacuum keeps up with expiries: what is deleted is used again, while users chat."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from chatserver.messaging.expiry import Expiry
from chatserver.metrics import Metrics
from tests.support.findings import tell
from tests.support.people import Server, running_server, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(4 * 3600)]

ROWS = int(os.environ.get("CHAT_SOAK_ROWS", str(10**7)))
"""Messages that are deleted in each of the rounds."""

ROUNDS = 3
CHATS = 100
GROWTH = 1.25
"""The table after the last round, compared with the one before: without vacuum it would be half as large again."""


async def _fill(server: Server, sender_id: int, chats: list[int]) -> None:
    # Rows of a chat rise in time.
    await server.fill("UPDATE messages SET created_at = '2020-01-01' WHERE created_at > '2020-01-01'")
    await server.fill("UPDATE chats SET last_at = '2020-01-01'")
    await server.fill(
        "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
        "SELECT c.chat_id, c.last_seq + n, $2, repeat('x', 100), '2020-01-01' "
        "FROM unnest($1::bigint[]) AS f (chat_id) JOIN chats c USING (chat_id), generate_series(1, $3::integer) AS n",
        chats,
        sender_id,
        ROWS // CHATS,
    )
    await server.fill(
        "UPDATE chats SET last_seq = last_seq + $2::integer WHERE chat_id = ANY ($1::bigint[])", chats, ROWS // CHATS
    )
    # The rows are older than what the last round has met.
    await server.fill("UPDATE retention_walk SET is_over = true, began_at = '-infinity'")


async def _size(server: Server) -> int:
    (record,) = await server.database.fetch("SELECT pg_total_relation_size('messages')")
    return int(record[0])


async def _chat(server: Server, sender_id: int, chat_id: int, slowest: list[float]) -> None:
    while True:
        began = time.monotonic()
        await server.send(sender_id, "hi", chat_id=chat_id)
        slowest[0] = max(slowest[0], time.monotonic() - began)
        await asyncio.sleep(0.01)


async def test_the_table_does_not_grow_when_messages_come_and_go(read_dsn: Callable[[], str]) -> None:
    async with running_server(read_dsn) as server:
        ada = (await sign_in(server.database, "ada")).user.user_id
        chats = []
        for number in range(CHATS):
            await sign_in(server.database, f"u{number}")
            chats.append((await server.send(ada, "hi", to=f"u{number}")).chat_id)
        sizes, slowest = [], [0.0]
        for _ in range(ROUNDS):
            await _fill(server, ada, chats)
            metrics = Metrics().expiry
            talk = asyncio.create_task(_chat(server, ada, chats[0], slowest))
            expiry = Expiry(server.database, metrics, retention_days=7)
            while metrics.deleted.value < ROWS // CHATS * CHATS:
                assert not talk.done(), "a send failed while messages were deleted"
                await expiry.round()
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
            await server.fill("VACUUM messages")
            sizes.append(await _size(server))
        found = ", ".join(f"{size >> 20} MiB" for size in sizes)
        tell(f"expiry of {ROWS:,} messages a round: {found}; slowest send {slowest[0]:.3f} s")
        assert sizes[-1] <= GROWTH * sizes[-2]
