"""The exact cursor with writers on four servers and long transactions among them: nothing missed, nothing twice."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
import pytest

from chatcluster_client import Problem, RestClient
from chatserver.storage.database import single_connection
from tests.support.findings import tell
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.integration

SERVERS = 4
WRITERS = 8
WRITING_SECONDS = 8.0
SLOW_WRITERS = 3
COMMITS = 0.8
"""Share of the long transactions that do not roll back."""

RETRY_SECONDS = 0.1
FINISH_SECONDS = 60.0

# What a server's batch runs, in a transaction that then goes on for a while.
_SEND = """
SELECT o_outcome FROM append_messages(
    'slow', ARRAY[$1]::bigint[], ARRAY[$2]::bigint[], ARRAY[gen_random_uuid()], ARRAY['\\x00'::bytea], ARRAY['slow'],
    ARRAY['text'], ARRAY[NULL]::text[], ARRAY[NULL]::bigint[], ARRAY[NULL]::timestamptz[])
"""


@dataclass(slots=True)
class Poller:
    """One way to follow a feed."""

    limit: int
    wait_seconds: int
    events: bool
    read: list[tuple[int, int]] = field(default_factory=list)
    pages: int = 0

    async def follow(self, readers: list[RestClient], chance: random.Random, finished: asyncio.Event) -> None:
        """Poll by one server after the other until what was written before the end has been read."""
        since: str | None = None
        while True:
            is_last = finished.is_set()
            rows, since = await chance.choice(readers).poll(
                since, limit=self.limit, wait_seconds=self.wait_seconds, events=self.events
            )
            self.pages += 1
            self.read += [(row["chat_id"], row["seq"]) for row in rows]
            if is_last and not rows:
                return
            await asyncio.sleep(0 if rows else 0.02)


@pytest.fixture
async def servers(read_dsn: Callable[[], str]) -> AsyncIterator[list[ServerProcess]]:
    """Four servers on one database."""
    with ExitStack() as stack:
        made = [ServerProcess(read_dsn(), f"server-{number}") for number in range(SERVERS)]
        await asyncio.gather(*(asyncio.to_thread(stack.enter_context, server) for server in made))
        for server in made:
            await asyncio.to_thread(server.wait_ready)
        yield made


async def test_pollers_miss_nothing_and_see_nothing_twice_with_long_transactions_among_writers_on_four_servers(
    servers: list[ServerProcess], read_dsn: Callable[[], str]
) -> None:
    seed = random.randrange(10**6)  # noqa: S311 - decides on pauses
    chance = random.Random(seed)  # noqa: S311
    reader = await RestClient.sign_in(servers[0].url, "+14155560000", username="reader")
    readers = [RestClient(server.url, reader.token, reader.user_id) for server in servers]
    writers = [
        await RestClient.sign_in(servers[number % SERVERS].url, f"+1415556{number + 1:04d}", username=f"writer{number}")
        for number in range(WRITERS)
    ]
    group = await reader.call(
        "POST", "/api/groups", {"group_name": "all", "members": [writer.username for writer in writers]}
    )
    chats = [group["chat_id"], *[(await _send(writer, to="reader"))["chat_id"] for writer in writers]]

    pollers = [Poller(7, 0, events=False), Poller(100, 1, events=False), Poller(3, 0, events=True)]
    written, finished = asyncio.Event(), asyncio.Event()
    following = [asyncio.create_task(poller.follow(readers, chance, finished)) for poller in pollers]
    slow = [
        asyncio.create_task(
            _write_slowly(read_dsn, writers[number].user_id, chats[number + 1], chats[0], chance, written)
        )
        for number in range(SLOW_WRITERS)
    ]
    # A backup's transaction holds back every horizon that is made of the oldest running one.
    async with single_connection(read_dsn, "backup") as backup, backup.transaction(isolation="repeatable_read"):
        await backup.fetchval("SELECT pg_current_xact_id()")
        deadline = time.monotonic() + WRITING_SECONDS
        counts = await asyncio.gather(
            *(_write(writer, chats[number + 1], chats[0], chance, deadline) for number, writer in enumerate(writers))
        )
        written.set()
        held = await asyncio.gather(*slow)
        total = WRITERS + sum(counts) + sum(held)
        async with asyncio.timeout(FINISH_SECONDS):
            while any(len(poller.read) < total for poller in pollers):
                await asyncio.sleep(0.05)
    finished.set()
    await asyncio.wait_for(asyncio.gather(*following), FINISH_SECONDS)

    async with single_connection(read_dsn, "check") as connection:
        records = await connection.fetch(
            "SELECT chat_id, seq, kind FROM messages WHERE chat_id = ANY ($1::bigint[])", chats
        )
    messages = {(record[0], record[1]) for record in records if record[2] == "message"}
    rows = {(record[0], record[1]) for record in records}
    assert len(messages) == total
    assert sum(held), "no transaction was long"
    for poller in pollers:
        expected = rows if poller.events else messages
        assert len(poller.read) == len(set(poller.read)), f"something twice; seed {seed}"
        assert set(poller.read) == expected, f"something missed; seed {seed}"
    tell(
        f"cursors: {len(messages)} messages, {sum(held)} in transactions of 0.2 to 3 s, by {SERVERS} servers; "
        f"{sum(poller.pages for poller in pollers)} pages by {len(pollers)} pollers: missed 0, twice 0"
    )
    for client in (reader, *readers, *writers):
        await client.close()


async def _send(writer: RestClient, *, to: str | None = None, chat_id: int | None = None) -> dict[str, int]:
    """Send, again and again while a chat is held by somebody."""
    client_id = str(uuid.uuid4())
    while True:
        try:
            sent: dict[str, int] = await writer.send("x", client_id=client_id, to=to, chat_id=chat_id)
        except Problem as problem:
            if not problem.retryable:
                raise
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return sent


async def _write(writer: RestClient, own: int, group: int, chance: random.Random, deadline: float) -> int:
    """Write to the reader and to the group until the deadline; returns how many messages."""
    count = 0
    while time.monotonic() < deadline:
        await _send(writer, chat_id=chance.choice((own, own, own, own, group)))
        count += 1
        await asyncio.sleep(chance.uniform(0, 0.05))
    return count


async def _write_slowly(
    read_dsn: Callable[[], str], sender_id: int, own: int, group: int, chance: random.Random, stop: asyncio.Event
) -> int:
    """Hold one transaction after the other open, with a message in it; some roll back. Returns those that commit."""
    count = 0
    async with single_connection(read_dsn, "slow writer") as connection:
        while not stop.is_set():
            transaction = connection.transaction()
            await transaction.start()
            try:
                # The sends of others to the group wait for it meanwhile, and are answered 503 after a second.
                await connection.fetchval(_SEND, chance.choice((own, own, own, group)), sender_id)
            except asyncpg.LockNotAvailableError:
                await transaction.rollback()
                continue
            await asyncio.sleep(chance.uniform(0.2, 3))
            if chance.random() < COMMITS:
                await transaction.commit()
                count += 1
            else:
                await transaction.rollback()
    return count
