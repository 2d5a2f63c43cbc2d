"""The user-wide feed behind ``GET /api/messages``: everything that is new in all chats of a user, exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.bounds import LAST_SECOND
from chatserver.errors import CursorExpired, ValidationFailed
from chatserver.messaging.cursor import (
    FeedCursor,
    decode_since,
    earliest_snapshot,
    encode_feed_cursor,
    next_cursor,
    sees,
)
from chatserver.messaging.rows import fitting
from chatserver.model import Page
from chatserver.storage import feed
from chatserver.storage.times import moment_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.storage.database import Database

PAGE_ROWS_MAX = 1000
"""Rows of one page at most."""

PAGE_BYTES_MAX = 4 << 20
"""Bytes of texts in one page, as they are stored and in JSON; the row that passes it is the last one. 1,000 large texts
are 250 MiB, and three times that in this process while they are answered."""

SHARED_ROWS = 200
"""Rows that questions which wait for what is new read together: few, since each of them has had nearly all there is."""


class FeedQuestion(msgspec.Struct, frozen=True):
    """What a poll asks for; as of `read_feed`."""

    since: str | None
    limit: int
    events: bool


async def read_feed(
    database: Database, user_id: int, *, since: str | None = None, limit: int = 100, events: bool = False
) -> Page:
    """Return the next page, oldest first.

    Args:
        database: where to read.
        user_id: whose feed.
        since: None: from the beginning; 1 to 12 digits: Unix seconds, inclusive; otherwise a `Page.next_since`.
        limit: 1 to PAGE_ROWS_MAX rows; large texts make it fewer.
        events: also rows of other kinds than `message`. Keep it the same along one cursor.

    Raises:
        ValidationFailed: malformed since or limit.
        CursorExpired: the cursor is from another history of the database.
    """
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise ValidationFailed.of("limit", f"must be from 1 to {PAGE_ROWS_MAX}")
    asked = _asked(since)
    found = await feed.read_rows(
        database,
        user_id,
        feed.FeedBounds(
            lower_snapshot=asked.lower,
            upper_snapshot=asked.upper,
            from_time=None if asked.from_second is None else moment_of(asked.from_second * 1_000_000),
            after=asked.after,
        ),
        limit=limit,
        most_bytes=PAGE_BYTES_MAX,
        events=events,
    )
    if asked.epoch and asked.epoch != found.epoch:
        # What was found compares foreign transaction ids with ours: it means nothing.
        raise CursorExpired
    rows = found.rows[: fitting([row.text for row in found.rows], PAGE_BYTES_MAX)]
    more = found.more or len(rows) < len(found.rows)
    cursor = next_cursor(asked, rows, more=more, snapshot=found.snapshot, epoch=found.epoch)
    return Page(rows, encode_feed_cursor(cursor), more)


async def read_feeds(database: Database, user_id: int, questions: Iterable[FeedQuestion]) -> dict[FeedQuestion, Page]:
    """Return the pages of questions that only wait for what is new, by one query; the others are left out.

    The query begins with the earliest of their cursors, and each question gets what its own does not cover. Nothing is
    returned when that is too much, or the cursors are not of this history.
    """
    asked = {question: cursor for question in questions if (cursor := _waiting_cursor(question)) is not None}
    if not asked:
        return {}
    found, xacts = await feed.read_shared_rows(
        database,
        user_id,
        lower_snapshot=earliest_snapshot(cursor.lower or "" for cursor in asked.values()),
        limit=SHARED_ROWS,
        most_bytes=PAGE_BYTES_MAX,
    )
    is_whole = fitting([row.text for row in found.rows], PAGE_BYTES_MAX) == len(found.rows)
    if found.more or not is_whole or any(cursor.epoch != found.epoch for cursor in asked.values()):
        return {}
    pages = {}
    for question, cursor in asked.items():
        rows = tuple(
            row
            for row, xact in zip(found.rows, xacts, strict=True)
            if not sees(cursor.lower or "", xact) and (question.events or row.kind == "message")
        )
        page, more = rows[: question.limit], len(rows) > question.limit
        onward = next_cursor(cursor, page, more=more, snapshot=found.snapshot, epoch=found.epoch)
        pages[question] = Page(page, encode_feed_cursor(onward), more)
    return pages


def _waiting_cursor(question: FeedQuestion) -> FeedCursor | None:
    """Return the cursor of a question that waits for what is new; None for any other."""
    try:
        cursor = _asked(question.since)
    except ValidationFailed:
        return None
    begins_with_snapshot = cursor.lower is not None and cursor.from_second is None
    return cursor if begins_with_snapshot and cursor.upper is None and cursor.after is None else None


def _asked(since: str | None) -> FeedCursor:
    if since is None:
        return FeedCursor(epoch="")
    decoded = decode_since(since)
    if isinstance(decoded, FeedCursor):
        return decoded
    # Later seconds than a timestamp holds find nothing either way.
    return FeedCursor(epoch="", from_second=min(decoded, LAST_SECOND))


async def read_epoch(database: Database) -> str:
    """Return the name of the database's history, for `welcome`: when it changes, clients fetch afresh."""
    return await feed.read_epoch(database)
