"""The user-wide feed: the exact cursor misses nothing and repeats nothing, whatever the writers do."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from chatserver.errors import CursorExpired, ServiceUnavailable, ValidationFailed
from chatserver.messaging import feed, groups
from chatserver.messaging.cursor import FeedCursor, ShardsPosition, decode_since, encode_feed_cursor
from chatserver.storage import epochs
from chatserver.storage.epochs import read_epoch
from chatserver.storage.feed import _FEED
from tests.support.people import Server, running_server, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.model import MessageRow

pytestmark = pytest.mark.integration


async def read_all(
    server: Server, user_id: int, since: str | None = None, *, limit: int = 7, events: bool = False
) -> tuple[list[MessageRow], str]:
    rows: list[MessageRow] = []
    while True:
        page = await feed.read_feed(server.database, user_id, since=since, limit=limit, events=events)
        rows += page.rows
        since = page.next_since
        if not page.more:
            return rows, since


async def test_cursor_is_exact_with_many_writers_and_an_open_transaction(read_dsn: Callable[[], str]) -> None:
    """Four writers; one transaction takes its id first and commits last; pages of 7; the others pass meanwhile."""
    async with running_server(read_dsn, "a") as one, running_server(read_dsn, "b") as two:
        reader = await sign_in(one.database, "reader")
        writers = [await sign_in(one.database, f"writer{number}") for number in range(4)]
        opened = [await one.send(writer.user.user_id, "open", to="reader") for writer in writers]
        slow = await sign_in(one.database, "slow")
        slow_chat = (await one.send(slow.user.user_id, "open", to="reader")).chat_id
        seen: list[tuple[int, int]] = []
        since: str | None = None
        running = True

        async def poll() -> None:
            nonlocal since
            begins = True
            while True:
                # The later pages of what began before have nothing of what came since.
                last_round = begins and not running
                page = await feed.read_feed(two.database, reader.user.user_id, since=since, limit=7)
                since = page.next_since
                seen.extend((row.chat_id, row.seq) for row in page.rows)
                begins = not page.more
                if last_round and begins:
                    return
                if begins:
                    await asyncio.sleep(0.03)

        async def write(number: int) -> None:
            server = (one, two)[number % 2]
            for count in range(150):
                await server.send(writers[number].user.user_id, str(count), chat_id=opened[number].chat_id)

        async def hold() -> set[tuple[int, int]]:
            """Write in a transaction that stays open while the others commit; returns what passed meanwhile."""
            async with one.database.transaction() as connection:
                await connection.execute("SELECT pg_current_xact_id()")
                before = set(seen)
                await asyncio.sleep(1)
                await connection.execute(
                    "SELECT append_messages('a', ARRAY[$1::bigint], ARRAY[$2::bigint], ARRAY[gen_random_uuid()], "
                    "ARRAY[''::bytea], ARRAY['late'], ARRAY['text'], ARRAY[NULL], ARRAY[NULL::bigint], "
                    "ARRAY[NULL::timestamptz])",
                    slow_chat,
                    slow.user.user_id,
                )
                await asyncio.sleep(2)
                return set(seen) - before

        polling = asyncio.create_task(poll())
        holding = asyncio.create_task(hold())
        await asyncio.gather(*(write(number) for number in range(4)))
        meanwhile = await holding
        running = False
        await polling
        table = await one.database.fetch("SELECT chat_id, seq FROM messages")
        assert len(seen) == len(set(seen))
        assert set(seen) == {(row[0], row[1]) for row in table}
        assert (slow_chat, 2) in seen
        assert (slow_chat, 2) not in meanwhile
        assert len(meanwhile) > 100
        for chat_id in {chat_id for chat_id, _ in seen}:
            seqs = [seq for chat, seq in seen if chat == chat_id]
            assert seqs == sorted(seqs)


async def test_rows_committed_between_full_pages_come_after_the_run(server: Server) -> None:
    ada, bob, cy = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    for number in range(5):
        await server.send(ada.user.user_id, f"a{number}", to="Bob")
    first = await feed.read_feed(server.database, bob.user.user_id, limit=3)
    assert first.more
    await server.send(cy.user.user_id, "between", to="Bob")
    rest, since = await read_all(server, bob.user.user_id, first.next_since, limit=3)
    texts = [row.text for row in (*first.rows, *rest)]
    assert texts[:5] == ["a0", "a1", "a2", "a3", "a4"]
    later, _ = await read_all(server, bob.user.user_id, since)
    assert texts[5:] + [row.text for row in later] == ["between"]


async def test_empty_page_hands_out_a_cursor_that_goes_on(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    empty = await feed.read_feed(server.database, bob.user.user_id)
    assert (empty.rows, empty.more) == ((), False)
    await server.send(ada.user.user_id, "hello", to="Bob")
    rows, since = await read_all(server, bob.user.user_id, empty.next_since)
    assert [row.text for row in rows] == ["hello"]
    assert (await read_all(server, bob.user.user_id, since))[0] == []


async def test_unix_seconds_are_inclusive_and_lead_into_the_exact_cursor(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    before = int(time.time())
    for number in range(10):
        await server.send(ada.user.user_id, str(number), to="Bob")
    await server.database.execute(
        "UPDATE messages SET created_at = created_at - interval '1 hour' WHERE seq <= 4",
    )
    rows, since = await read_all(server, bob.user.user_id, str(before - 1), limit=2)
    assert [row.text for row in rows] == ["4", "5", "6", "7", "8", "9"]
    exactly = rows[0].created_at_us // 1_000_000
    assert rows[0] in (await read_all(server, bob.user.user_id, str(exactly)))[0]
    assert (await read_all(server, bob.user.user_id, str(before + 3600)))[0] == []
    await server.send(ada.user.user_id, "10", to="Bob")
    assert [row.text for row in (await read_all(server, bob.user.user_id, since))[0]] == ["10"]
    assert len((await read_all(server, bob.user.user_id, "0"))[0]) == 11
    assert (await read_all(server, bob.user.user_id, "9" * 12))[0] == []


async def test_new_member_reads_from_the_joining_on_and_a_former_one_to_the_leaving(server: Server) -> None:
    ada, bob, cy = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    group = await groups.create_group(server.database, ada.user.user_id, "team", ["Bob"])
    await server.send(ada.user.user_id, "before", chat_id=group.chat_id)
    _, cursor = await read_all(server, cy.user.user_id, events=True)
    await groups.add_member(server.database, ada.user.user_id, group.group_id, cy.user.user_id)
    await server.send(ada.user.user_id, "with Cy", chat_id=group.chat_id)
    await groups.remove_member(server.database, ada.user.user_id, group.group_id, cy.user.user_id)
    await server.send(ada.user.user_id, "without Cy", chat_id=group.chat_id)
    rows, since = await read_all(server, cy.user.user_id, cursor, limit=1, events=True)
    assert [(row.kind, row.text) for row in rows] == [("member", None), ("message", "with Cy"), ("member", None)]
    assert rows == (await read_all(server, cy.user.user_id, events=True))[0]
    await groups.add_member(server.database, ada.user.user_id, group.group_id, cy.user.user_id)
    await server.send(ada.user.user_id, "Cy is back", chat_id=group.chat_id)
    rows, _ = await read_all(server, cy.user.user_id, since, events=True)
    assert [(row.kind, row.text) for row in rows] == [("member", None), ("message", "Cy is back")]
    everything, _ = await read_all(server, cy.user.user_id, events=False)
    assert [row.text for row in everything] == ["with Cy", "Cy is back"]
    bobs, _ = await read_all(server, bob.user.user_id)
    assert [row.text for row in bobs] == ["before", "with Cy", "without Cy", "Cy is back"]


async def test_cursor_of_another_history_has_expired(server: Server) -> None:
    ada = await sign_in(server.database, "Ada")
    page = await feed.read_feed(server.database, ada.user.user_id)
    await server.database.execute("UPDATE meta SET epoch = 'restored'")
    with pytest.raises(CursorExpired):
        await feed.read_feed(server.database, ada.user.user_id, since=page.next_since)


@pytest.mark.parametrize("is_lost", [False, True])
async def test_after_a_promotion_a_cursor_waits_until_it_is_known_whether_anything_was_lost(
    server: Server, monkeypatch: pytest.MonkeyPatch, *, is_lost: bool
) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    database = server.database

    async def enter(timeline: str, epoch_timeline: str) -> None:
        await database.execute("UPDATE meta SET timeline = $1, epoch_timeline = $2", timeline, epoch_timeline)

    async def entry() -> tuple[str, str]:
        (row,) = await database.fetch("SELECT timeline, epoch_timeline FROM meta")
        return row[0], row[1]

    # The epoch is that of an earlier timeline.
    await enter("00000001", "000000AA")
    since = (await feed.read_feed(database, ada)).next_since
    epoch = await read_epoch(database)
    # As if a replica had been promoted that has got all of this, and the agent beside it had not looked yet.
    await enter("000000FF", "000000AA")
    for _ in range(2):
        with pytest.raises(ServiceUnavailable) as caught:
            await feed.read_feed(database, ada, since=since)
        assert caught.value.retry_after_seconds == 1
        with pytest.raises(ServiceUnavailable):
            await read_epoch(database)
    if not is_lost:
        await enter("00000001", "000000AA")
        assert (await feed.read_feed(database, ada, since=since)).rows == ()
        assert await read_epoch(database) == epoch
        return
    # Nobody looks, as in a database that was restored from a dump: it is settled then, for all servers.
    monkeypatch.setattr(epochs, "UNDECIDED_SECONDS", 0.0)
    with pytest.raises(CursorExpired):
        await feed.read_feed(database, ada, since=since)
    assert await entry() == ("00000001", "00000001")
    monkeypatch.undo()
    assert await read_epoch(database) != epoch
    onward = (await feed.read_feed(database, ada)).next_since
    assert (await feed.read_feed(database, ada, since=onward)).rows == ()


async def test_a_cursor_of_shards_that_are_not_here_expires_instead_of_missing_their_rows(server: Server) -> None:
    ada = await sign_in(server.database, "Ada")
    page = await feed.read_feed(server.database, ada.user.user_id)
    cursor = decode_since(page.next_since)
    assert isinstance(cursor, FeedCursor)
    wider = msgspec.structs.replace(cursor, elsewhere=(ShardsPosition((1, 2), "e", lower="5:5:"),))
    since = encode_feed_cursor(wider)
    with pytest.raises(CursorExpired):
        await feed.read_feed(server.database, ada.user.user_id, since=since)
    query = feed.FeedQuery(since=since, limit=10, events=False)
    assert await feed.read_feeds(server.database, ada.user.user_id, [query]) == {}


@pytest.mark.parametrize("since", ["", "abc", "-5", "1234567890123", "c1.", "c1.!!!!", "c1.k6Fhoaai", "1.5"])
async def test_malformed_since_is_refused(server: Server, since: str) -> None:
    with pytest.raises(ValidationFailed):
        await feed.read_feed(server.database, 1, since=since)


async def test_cursor_reads_only_what_is_new_by_the_primary_key(server: Server) -> None:
    """The plan: chats by membership, rows by their key; nothing reads the table of messages as a whole."""
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    await server.send(ada.user.user_id, "hello", to="Bob")
    page = await feed.read_feed(server.database, bob.user.user_id)
    cursor = decode_since(page.next_since)
    assert not isinstance(cursor, int)
    await server.fill(
        "INSERT INTO messages (chat_id, seq, sender_id, created_at) "
        "SELECT 1000 + n % 500, n / 500 + 1, 1, now() FROM generate_series(1, 20000) AS n"
    )
    await server.database.execute("ANALYZE messages")
    events = True
    plan = await server.database.fetch(
        "EXPLAIN " + _FEED, bob.user.user_id, cursor.lower, None, None, None, None, None, 100, events, 1 << 20
    )
    text = "\n".join(row[0] for row in plan)
    assert "Seq Scan on messages" not in text, text
