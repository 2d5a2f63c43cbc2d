"""The feed of a user behind ``GET /api/messages``: each new row of all of the user's chats, exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.bounds import LAST_SECOND
from chatserver.errors import CursorExpired, ServiceUnavailable, ValidationFailed
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
from chatserver.storage import epochs, feed
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
"""Rows that polls of one user which wait for new rows read together: few, since each has nearly all rows already."""


class FeedQuery(msgspec.Struct, frozen=True):
    """The parameters of a poll; as of `read_feed`."""

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
        CursorExpired: the cursor is from another history of the database, or of more shards than there are.
        ServiceUnavailable: the database is unavailable, or it is not known yet which history it has.
    """
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise ValidationFailed.of("limit", f"must be from 1 to {PAGE_ROWS_MAX}")
    start = _start(since)
    if start.elsewhere:
        # Rows of shards that this server does not know would be missing without an error.
        raise CursorExpired
    found = await feed.read_rows(
        database,
        user_id,
        feed.FeedBounds(
            lower_snapshot=start.lower,
            upper_snapshot=start.upper,
            from_time=None if start.from_second is None else moment_of(start.from_second * 1_000_000),
            after=start.after,
        ),
        limit=limit,
        most_bytes=PAGE_BYTES_MAX,
        events=events,
    )
    if start.epoch:
        await check_epoch(database, start.epoch, found.epoch)
    rows = found.rows[: fitting([row.text for row in found.rows], PAGE_BYTES_MAX)]
    more = found.more or len(rows) < len(found.rows)
    cursor = next_cursor(start, rows, more=more, snapshot=found.snapshot, epoch=found.epoch)
    return Page(rows, encode_feed_cursor(cursor), more)


async def check_epoch(database: Database, epoch: str, found: str) -> None:
    """Refuse what was found by comparing transaction ids of two histories of the database: it means nothing.

    Args:
        database: where it was read.
        epoch: that of the cursor.
        found: that of the statement which read.

    Raises:
        CursorExpired: they differ.
        ServiceUnavailable: they differ, but it is not known yet, or was not while the statement ran, which one it is.
    """
    if epoch == found:
        return
    if await epochs.read_epoch(database) == epoch:
        # It has been decided since that nothing was lost.
        raise ServiceUnavailable(retry_after_seconds=1)
    raise CursorExpired


async def read_feeds(database: Database, user_id: int, queries: Iterable[FeedQuery]) -> dict[FeedQuery, Page]:
    """Return the pages of polls that only wait for new rows, by one statement; the others are left out.

    The statement begins with the earliest of their cursors, and each poll gets what its own does not cover. Nothing is
    returned when that is too much, or the cursors are not of this history.
    """
    cursors = {query: cursor for query in queries if (cursor := _waiting_cursor(query)) is not None}
    if not cursors:
        return {}
    found, xacts = await feed.read_shared_rows(
        database,
        user_id,
        lower_snapshot=earliest_snapshot(cursor.lower or "" for cursor in cursors.values()),
        limit=SHARED_ROWS,
        most_bytes=PAGE_BYTES_MAX,
    )
    is_whole = fitting([row.text for row in found.rows], PAGE_BYTES_MAX) == len(found.rows)
    if found.more or not is_whole or any(cursor.epoch != found.epoch for cursor in cursors.values()):
        return {}
    pages = {}
    for query, cursor in cursors.items():
        rows = tuple(
            row
            for row, xact in zip(found.rows, xacts, strict=True)
            if not sees(cursor.lower or "", xact) and (query.events or row.kind == "message")
        )
        page, more = rows[: query.limit], len(rows) > query.limit
        onward = next_cursor(cursor, page, more=more, snapshot=found.snapshot, epoch=found.epoch)
        pages[query] = Page(page, encode_feed_cursor(onward), more)
    return pages


def _waiting_cursor(query: FeedQuery) -> FeedCursor | None:
    """Return the cursor of a poll that waits for new rows; None for any other."""
    try:
        cursor = _start(query.since)
    except ValidationFailed:
        return None
    begins_with_snapshot = cursor.lower is not None and cursor.from_second is None and not cursor.elsewhere
    return cursor if begins_with_snapshot and cursor.upper is None and cursor.after is None else None


def _start(since: str | None) -> FeedCursor:
    if since is None:
        return FeedCursor(epoch="")
    decoded = decode_since(since)
    if isinstance(decoded, FeedCursor):
        return decoded
    # Later seconds than a timestamp holds find nothing either way.
    return FeedCursor(epoch="", from_second=min(decoded, LAST_SECOND))
