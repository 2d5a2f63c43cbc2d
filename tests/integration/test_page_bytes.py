"""No page of history is larger than a bound, however large the rows are, and nothing is missed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatserver.services import chats, feed
from chatserver.services.feed import FeedQuestion
from tests.support.people import Server, sign_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.model import MessageRow

pytestmark = pytest.mark.integration

LARGE = "\U0001f44d" * 65_536
ROWS = 50


async def fill(server: Server) -> tuple[int, int]:
    """Return a user and their chat: large messages, with as many edits of one of them, which show its text, between."""
    ada = await sign_in(server.database, "Ada")
    await sign_in(server.database, "Bob")
    sent = await server.send(ada.user.user_id, LARGE, to="Bob")
    await server.database.execute(
        "INSERT INTO messages (chat_id, seq, kind, target_seq, sender_id, message_text, created_at) "
        "SELECT $1, n, CASE WHEN n % 2 = 0 THEN 'edit' ELSE 'message' END, CASE WHEN n % 2 = 0 THEN 1 END, $2, "
        "CASE WHEN n % 2 = 1 THEN $3 END, now() FROM generate_series(2, $4::bigint) AS n",
        sent.chat_id,
        ada.user.user_id,
        LARGE,
        ROWS,
    )
    await server.database.execute("UPDATE chats SET last_seq = $2 WHERE chat_id = $1", sent.chat_id, ROWS)
    return ada.user.user_id, sent.chat_id


def assert_bounded(rows: Sequence[MessageRow]) -> None:
    # The row that passes the bound is the last one.
    sizes = [len((row.text or "").encode()) for row in rows]
    assert rows
    assert sum(sizes) - max(sizes) < chats.HISTORY_BYTES_MAX


async def test_history_brings_large_rows_by_the_page_both_ways(server: Server) -> None:
    user_id, chat_id = await fill(server)
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


async def test_a_feed_brings_large_rows_by_the_page_and_none_twice(server: Server) -> None:
    user_id, _ = await fill(server)
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
    questions = [FeedQuestion(since, limit, events=True) for limit in (1, 1000)]
    sent = await server.send(ada.user.user_id, "first", to="Eve")
    assert set(await feed.read_feeds(server.database, ada.user.user_id, questions)) == set(questions)
    await server.database.execute(
        "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
        "SELECT $1, n, $2, $3, now() FROM generate_series(2, $4::bigint) AS n",
        sent.chat_id,
        ada.user.user_id,
        LARGE,
        ROWS,
    )
    await server.database.execute("UPDATE chats SET last_seq = $2 WHERE chat_id = $1", sent.chat_id, ROWS)
    assert await feed.read_feeds(server.database, ada.user.user_id, questions) == {}
