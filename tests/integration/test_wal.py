"""How much WAL a message costs: counted on a real PostgreSQL, and what `bench simulate` is fed with."""

from __future__ import annotations

import random
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from bench.simulation.costs import Costs, wal_bytes
from chatserver.storage.calls import CallTimes
from chatserver.storage.database import Database
from chatserver.storage.messages import NewMessage, store_messages
from chatserver.storage.migrate import migrate
from tests.support.filling import fill_chats
from tests.support.findings import tell
from tests.support.people import sign_in
from tests.support.postgres import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

pytestmark = pytest.mark.integration

CHATS = 5000
TEXT = "a message of the length that most of them have, 60 characters"
QUIET = "autovacuum = off\ncheckpoint_timeout = 1h\nmax_wal_size = 4GB\n"


@asynccontextmanager
async def filled(settings: str) -> AsyncIterator[tuple[Database, int]]:
    """A database with many direct chats of one user, who is returned too."""
    with PostgresCluster(f"{QUIET}{settings}") as cluster:
        dsn = cluster.dsn(cluster.create_database())
        await migrate(lambda: dsn, wait_seconds=10)
        database = await Database(lambda: dsn, server_name="one", pool_size=1).open()
        user_id = (await sign_in(database)).user.user_id
        await fill_chats(lambda: dsn, user_id, chats=CHATS, messages_each=1)
        yield database, user_id
        await database.close()


def message(user_id: int, chat_id: int) -> NewMessage:
    return NewMessage(
        chat_id=chat_id,
        sender_id=user_id,
        client_id=str(uuid.uuid4()),
        client_hash=b"h" * 16,
        client_timestamp=None,
        text=TEXT,
        message_type="text",
        media_url=None,
        reply_to=None,
    )


async def bytes_each(database: Database, user_id: int, chat_ids: Sequence[int], rows: int) -> float:
    """WAL bytes for each message that is stored, one in each of these chats, in batches of so many rows."""
    (before,) = (await database.fetch("SELECT pg_current_wal_insert_lsn()::text"))[0]
    for first in range(0, len(chat_ids), rows):
        batch = [message(user_id, chat_id) for chat_id in chat_ids[first : first + rows]]
        stored = await store_messages(database, batch, CallTimes("store"))
        assert {result.outcome for result in stored} == {"stored"}
    (written,) = (await database.fetch("SELECT pg_current_wal_insert_lsn() - $1::text::pg_lsn", before))[0]
    return float(written) / len(chat_ids)


@asynccontextmanager
async def grown(settings: str) -> AsyncIterator[tuple[Database, int, list[int]]]:
    """As `filled`, with the chats in a random order, and indexes that have grown in that order."""
    chat_ids = [1_000_001 + number for number in range(CHATS)]
    random.Random(1).shuffle(chat_ids)  # noqa: S311 - an order, no secret
    async with filled(settings) as (database, user_id):
        for _ in range(2):
            await bytes_each(database, user_id, chat_ids, 64)
        yield database, user_id, chat_ids


async def test_wal_of_a_message_is_what_the_simulation_is_fed_with() -> None:
    async with grown("full_page_writes = off") as (database, user_id, chat_ids):
        alone = await bytes_each(database, user_id, chat_ids[:2048], 1)
        together = await bytes_each(database, user_id, chat_ids[2048:4096], 64)
    tell(f"WAL bytes of a message: {alone:.0f} alone, {together:.0f} in a batch of 64")
    assert alone == pytest.approx(wal_bytes(Costs(), 1), rel=0.1)
    assert together == pytest.approx(wal_bytes(Costs(), 64), rel=0.1)


async def test_the_first_message_of_a_chat_after_a_checkpoint_costs_whole_pages() -> None:
    async with grown("wal_compression = lz4") as (database, user_id, chat_ids):
        await database.execute("CHECKPOINT")
        first = await bytes_each(database, user_id, chat_ids[:20], 1)
    tell(f"WAL bytes of the first message of a chat after a checkpoint: {first:.0f}")
    assert first == pytest.approx(Costs().wal_first_bytes, rel=0.25)
