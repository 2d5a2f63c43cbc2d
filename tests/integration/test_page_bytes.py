"""No page is larger than a bound, however large the rows are, and nothing is missed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from chatserver.errors import ValidationFailed
from chatserver.messaging import chats, feed, sync
from chatserver.messaging.feed import FeedQuery
from chatserver.model import SeqRange
from chatserver.users import blocks
from tests.support.people import Server, sign_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.model import MessageRow

pytestmark = pytest.mark.integration

LARGE = "\U0001f44d" * 65_536
# Of one byte each in the database, and of six in JSON.
ESCAPED = "\x01" * 65_536
ROWS = 50


async def fill(server: Server, large: str = LARGE) -> tuple[int, int]:
    """Return a user and their chat: large messages, with as many edits of one of them, which show its text, between."""
    ada = await sign_in(server.database, "Ada")
    await sign_in(server.database, "Bob")
    sent = await server.send(ada.user.user_id, large, to="Bob")
    await server.fill(
        "INSERT INTO messages (chat_id, seq, kind, target_seq, sender_id, message_text, created_at) "
        "SELECT $1, n, CASE WHEN n % 2 = 0 THEN 'edit' ELSE 'message' END, CASE WHEN n % 2 = 0 THEN 1 END, $2, "
        "CASE WHEN n % 2 = 1 THEN $3 END, now() FROM generate_series(2, $4::bigint) AS n",
        sent.chat_id,
        ada.user.user_id,
        large,
        ROWS,
    )
    await server.database.execute("UPDATE chats SET last_seq = $2 WHERE chat_id = $1", sent.chat_id, ROWS)
    return ada.user.user_id, sent.chat_id


def assert_bounded(rows: Sequence[MessageRow | None], most_bytes: int = chats.HISTORY_BYTES_MAX) -> None:
    # The row that passes the bound is the last one.
    sizes = [0 if row is None else len(msgspec.json.encode(row.text)) - 2 for row in rows]
    assert sizes
    assert sum(sizes[:-1]) < most_bytes


@pytest.mark.parametrize("large", [LARGE, ESCAPED], ids=["large", "escaped"])
async def test_history_brings_large_rows_by_the_page_both_ways(server: Server, large: str) -> None:
    user_id, chat_id = await fill(server, large)
    after, forwards = 0, []
    while True:
        page = await chats.read_history(server.database, user_id, chat_id, after=after, limit=1000)
        assert_bounded(page.rows)
        forwards += [row.seq for row in page.rows]
        after = forwards[-1]
        if not page.more:
            break
    before: int | None = None
    backwards: list[int] = []
    while True:
        page = await chats.read_history(server.database, user_id, chat_id, before=before, limit=1000)
        assert_bounded(page.rows)
        backwards[:0] = [row.seq for row in page.rows]
        before = backwards[0]
        if not page.more:
            break
    assert forwards == backwards == list(range(1, ROWS + 1))


async def test_the_cursor_goes_on_behind_the_last_large_row_of_a_page(server: Server) -> None:
    user_id, chat_id = await fill(server)
    start = (await feed.read_feed(server.database, user_id, since=str(2**33))).next_since
    await server.database.execute("UPDATE messages SET xact = pg_current_xact_id() WHERE chat_id = $1", chat_id)
    await server.database.execute("UPDATE chats SET last_xact = pg_current_xact_id() WHERE chat_id = $1", chat_id)
    for since in (None, start):
        seqs: list[int] = []
        cursor, pages = since, 0
        while True:
            page = await feed.read_feed(server.database, user_id, since=cursor, limit=1000, events=True)
            assert_bounded(page.rows, feed.PAGE_BYTES_MAX)
            seqs += [row.seq for row in page.rows]
            cursor, pages = page.next_since, pages + 1
            if not page.more:
                break
            # What comes meanwhile waits for the end of the run.
            if pages == 1:
                await server.send(user_id, "meanwhile", chat_id=chat_id)
        assert pages > 1
        last = seqs[-1]
        assert seqs == list(range(1, last + 1))
        later = await feed.read_feed(server.database, user_id, since=cursor, events=True)
        assert [row.text for row in later.rows] == ["meanwhile"]
        assert later.rows[0].seq == last + 1


@pytest.mark.parametrize("large", [LARGE, ESCAPED], ids=["large", "escaped"])
async def test_a_feed_brings_large_rows_by_the_page_and_none_twice(server: Server, large: str) -> None:
    user_id, _ = await fill(server, large)
    since: str | None = None
    found: list[int] = []
    while True:
        page = await feed.read_feed(server.database, user_id, since=since, limit=1000, events=True)
        assert_bounded(page.rows)
        found += [row.seq for row in page.rows]
        since = page.next_since
        if not page.more:
            break
    assert found == list(range(1, ROWS + 1))
    assert (await feed.read_feed(server.database, user_id, since=since, events=True)).rows == ()


async def test_polls_that_are_answered_together_read_no_more_than_a_page(server: Server) -> None:
    ada = await sign_in(server.database, "Eve")
    since = (await feed.read_feed(server.database, ada.user.user_id)).next_since
    questions = [FeedQuery(since, limit, events=True) for limit in (1, 1000)]
    sent = await server.send(ada.user.user_id, "first", to="Eve")
    assert set(await feed.read_feeds(server.database, ada.user.user_id, questions)) == set(questions)
    await server.fill(
        "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
        "SELECT $1, n, $2, $3, now() FROM generate_series(2, $4::bigint) AS n",
        sent.chat_id,
        ada.user.user_id,
        LARGE,
        ROWS,
    )
    await server.database.execute("UPDATE chats SET last_seq = $2 WHERE chat_id = $1", sent.chat_id, ROWS)
    assert await feed.read_feeds(server.database, ada.user.user_id, questions) == {}


async def test_a_list_of_chats_with_large_last_messages_comes_by_the_page(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    await sign_in(server.database, "Bob")
    await server.send(ada, LARGE, to="Bob")
    await server.fill(
        "WITH made AS (INSERT INTO chats (chat_id, kind, last_seq, last_at) "
        "SELECT 1000000 + n, 'group', 1, now() - make_interval(secs => n) FROM generate_series(1, $3::int) AS n "
        "RETURNING chat_id), said AS (INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
        # One chat without a message, too.
        "SELECT chat_id, 1, $1, $2, now() FROM made WHERE chat_id <> 1000002) "
        "INSERT INTO chat_members (chat_id, user_id) SELECT chat_id, $1 FROM made",
        ada,
        LARGE,
        ROWS - 1,
    )
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = await chats.list_chats(server.database, ada, limit=chats.LIST_MAX, cursor=cursor)
        assert_bounded([chat.last_message for chat in page.chats], chats.LIST_BYTES_MAX)
        found += [chat.chat_id for chat in page.chats]
        cursor, pages = page.next_cursor, pages + 1
    assert pages > 1
    assert len(found) == len(set(found)) == ROWS
    assert found[1:] == [1_000_000 + n for n in range(1, ROWS)]


async def test_a_sync_brings_large_rows_in_bounded_answers_and_all_of_them(server: Server) -> None:
    user_id, chat_id = await fill(server, ESCAPED)
    have, found = 0, []
    while True:
        answer = await sync.sync_user(server.database, user_id, {chat_id: have})
        assert_bounded(answer.rows, sync.SYNC_BYTES_MAX)
        found += [row.seq for row in answer.rows]
        have = found[-1]
        if not answer.more:
            break
    assert found == list(range(1, ROWS + 1))


async def test_what_is_brought_to_connections_after_lost_hints_is_read_in_parts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "LIGHT_ROWS", 10)
    user_id, chat_id = await fill(server)
    reached, parts = 0, []
    while reached < ROWS:
        ranges = await sync.light(server.database, [SeqRange(chat_id, reached + 1, ROWS)])
        rows = await sync.rows_for(server.database, ranges, [user_id])
        # The last part has few rows, however large they are.
        parts.append([delivery.row.seq for delivery in rows])
        assert sum(len((delivery.row.text or "").encode()) for delivery in rows) <= sync.LIGHT_BYTES or len(rows) <= 10
        reached = ranges[-1].last_seq
    assert [seq for part in parts for seq in part] == list(range(1, ROWS + 1))
    assert len(parts) > 2


async def test_a_list_of_blocks_has_a_last_place(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    bob = (await sign_in(server.database, "Bob")).user.user_id
    await server.fill(
        "WITH made AS (INSERT INTO users (phone_number) SELECT '+1666' || lpad(n::text, 7, '0') "
        "FROM generate_series(1, $2::int) AS n RETURNING user_id) "
        "INSERT INTO blocks (blocker_id, blocked_id) SELECT $1, user_id FROM made",
        ada,
        blocks.BLOCKS_MAX,
    )
    blocked = await blocks.list_blocked(server.database, ada)
    with pytest.raises(ValidationFailed):
        await blocks.set_block(server.database, ada, bob, blocked=True)
    assert await blocks.list_blocked(server.database, ada) == blocked
    assert (await blocks.set_block(server.database, ada, blocked[0], blocked=True)).seq is None
    await blocks.set_block(server.database, ada, blocked[0], blocked=False)
    assert (await blocks.set_block(server.database, ada, bob, blocked=True)).seq is not None
