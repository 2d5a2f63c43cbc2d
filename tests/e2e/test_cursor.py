"""The exact cursor on the real cluster: a transaction stays open for half a minute, and nothing is missed."""

import asyncio
import time
import uuid

from chatcluster_client import RestClient
from tests.support.cluster import Cluster, until
from tests.support.ledger import sign_in
from tests.support.readiness import healthy

WRITERS = 4
MESSAGES_EACH = 25
PAGE_ROWS = 7
HELD_SECONDS = 30
ARRIVES_SECONDS = 2

HOLD_A_MESSAGE = """
BEGIN;
SELECT last_seq FROM chats WHERE chat_id = {chat_id} FOR NO KEY UPDATE;
UPDATE chats SET last_seq = last_seq + 1, last_xact = pg_current_xact_id() WHERE chat_id = {chat_id};
INSERT INTO messages (chat_id, seq, kind, sender_id, client_id, message_text, created_at)
SELECT chat_id, last_seq, 'message', {sender_id}, gen_random_uuid(), 'held', clock_timestamp()
FROM chats WHERE chat_id = {chat_id};
SELECT pg_sleep({seconds});
COMMIT;
"""


async def test_a_poller_misses_nothing_behind_a_long_transaction(cluster: Cluster) -> None:
    reader = await sign_in(cluster.url, tls=cluster.insecure)
    writers = [await sign_in(cluster.url, tls=cluster.insecure) for _ in range(WRITERS)]
    slow = await sign_in(cluster.url, tls=cluster.insecure)
    read: list[tuple[int, int]] = []
    finished = asyncio.Event()

    async def poll() -> None:
        since = None
        while True:
            last_round = finished.is_set()
            rows, since = await reader.poll(since, limit=PAGE_ROWS)
            read.extend((row["chat_id"], row["seq"]) for row in rows)
            if last_round and not rows:
                return
            await asyncio.sleep(0 if rows else 0.05)

    poller = asyncio.create_task(poll())
    first = await slow.send("the chat's first", client_id=str(uuid.uuid4()), to=reader.username)
    held = asyncio.create_task(
        cluster.psql(HOLD_A_MESSAGE.format(chat_id=first["chat_id"], sender_id=slow.user_id, seconds=HELD_SECONDS))
    )
    started = time.monotonic()
    await until(lambda: _held(cluster), "the transaction is open", 15)
    # Half a minute of load is also the smoke version of test_healthy.py.
    async with healthy(cluster):
        chats = await asyncio.gather(*(_write(writer, reader, read) for writer in writers))
        assert time.monotonic() - started < HELD_SECONDS, "the writers were to be done while the transaction is open"
        await held
        finished.set()
        await asyncio.wait_for(poller, 30)

    chat_ids = ",".join(str(chat_id) for chat_id in (*chats, first["chat_id"]))
    stored = await cluster.psql(f"SELECT chat_id, seq FROM messages WHERE chat_id IN ({chat_ids})")  # noqa: S608
    table = [(int(chat_id), int(seq)) for chat_id, seq in (line.split("|") for line in stored.split())]
    assert len(table) == WRITERS * MESSAGES_EACH + 2
    assert len(read) == len(set(read)), "nothing twice"
    assert set(read) == set(table), "nothing missed"
    for client in (reader, slow, *writers):
        await client.close()


async def _write(writer: RestClient, reader: RestClient, read: list[tuple[int, int]]) -> int:
    """Send, and wait for each message to be read, though another transaction is open; returns the chat."""
    for number in range(MESSAGES_EACH):
        sent = await writer.send(f"{number}", client_id=str(uuid.uuid4()), to=reader.username)
        place = (sent["chat_id"], sent["seq"])

        async def arrived(place: tuple[int, int] = place) -> bool:
            return place in read

        await until(arrived, f"{place} is read", ARRIVES_SECONDS, poll_seconds=0.02)
    return int(sent["chat_id"])


async def _held(cluster: Cluster) -> bool:
    return "pg_sleep" in await cluster.psql("SELECT query FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
