"""SQL of the user-wide feed: the exact cursor of pg_current_snapshot()."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.described import AS_OF, DESCRIBED, DESCRIBED_COLUMNS, SHOWN_BYTES, TARGET_SEEN, message_row
from chatserver.storage.times import moment_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from chatserver.model import MessageRow
    from chatserver.storage.database import Database, Record


class FeedKey(msgspec.Struct, frozen=True, array_like=True):
    """Position of a row in the order of a feed."""

    created_at_us: int
    chat_id: int
    seq: int


class FeedRows(msgspec.Struct, frozen=True):
    """One read of the feed.

    Attributes:
        rows: oldest first, at most the requested number and bytes.
        more: further ones were found.
        snapshot: pg_current_snapshot() of this very statement, as text: what it could see.
        epoch: names the history of the database that transaction ids belong to.
    """

    rows: tuple[MessageRow, ...]
    more: bool
    snapshot: str
    epoch: str


# The rows of a page are those that the lower bound does not cover (not visible in snapshot $2, or created at $4 or
# later) and the upper bound $3 does, after the key ($5, $6, $7) of the last page. Within a chat all three bounds are
# monotone in seq: commits, created_at and the key rise with it, because the chat's row lock makes them. So `low`
# walks the primary key backwards from the chat's end to the first row that is covered, and only the rows above that
# one are read.
_ROWS = (
    """
WITH bound AS MATERIALIZED (
    SELECT pg_current_snapshot() AS here, coalesce($3::text::pg_snapshot, pg_current_snapshot()) AS upper,
        $2::text::pg_snapshot AS lower
), picked AS MATERIALIZED (
    SELECT m.chat_id, m.seq, m.as_of
    FROM bound b
    CROSS JOIN chat_members cm
    JOIN chats c ON c.chat_id = cm.chat_id
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN b.lower IS NULL AND $4::timestamptz IS NULL AND $5::timestamptz IS NULL THEN cm.joined_seq
            ELSE coalesce((
                SELECT w.seq FROM messages w
                WHERE w.chat_id = cm.chat_id AND w.seq > cm.joined_seq AND w.seq <= c.last_seq
                    AND (pg_visible_in_snapshot(w.xact, b.lower)
                        OR w.created_at < $4::timestamptz
                        OR (w.created_at, w.chat_id, w.seq) <= ($5::timestamptz, $6::bigint, $7::bigint))
                ORDER BY w.seq DESC LIMIT 1), cm.joined_seq)
            END AS seq
    ) low
    CROSS JOIN LATERAL (
        SELECT m.chat_id, m.seq, m.created_at, """
    + AS_OF
    + """
        FROM messages m
        WHERE m.chat_id = cm.chat_id AND m.seq > low.seq AND m.seq <= coalesce(cm.left_seq, c.last_seq)
            AND pg_visible_in_snapshot(m.xact, b.upper)
            AND ($9 OR m.kind = 'message')
            AND NOT cm.absent @> m.seq
            """
    + TARGET_SEEN
    + """
        ORDER BY m.seq LIMIT $8
    ) m
    WHERE cm.user_id = $1
        AND (b.lower IS NULL OR c.last_xact >= pg_snapshot_xmin(b.lower))
        AND ($4::timestamptz IS NULL OR c.last_at >= $4::timestamptz)
    ORDER BY m.created_at, m.chat_id, m.seq LIMIT $8
), """
    + DESCRIBED
)

# Over exactly the rows that are returned, in the order of the result, so that it does not change the plan.
_BYTES_BEFORE = (
    "coalesce(sum("
    + SHOWN_BYTES
    + """) OVER (ORDER BY m.created_at, m.chat_id, m.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
"""
)

_FEED = (
    _ROWS
    + """
SELECT * FROM (
    SELECT m.*, b.here::text, chat_epoch(), (SELECT count(*) FROM picked), """
    + _BYTES_BEFORE
    + """ AS bytes_before
    FROM bound b LEFT JOIN described m ON true
    ORDER BY m.created_at, m.chat_id, m.seq
) s WHERE s.bytes_before < $10
"""
)

_SHARED = (
    _ROWS
    + """
SELECT * FROM (
    SELECT m.*, b.here::text, chat_epoch(), (SELECT count(*) FROM picked), (
        SELECT r.xact::text::bigint FROM messages r WHERE r.chat_id = m.chat_id AND r.seq = m.seq), """
    + _BYTES_BEFORE
    + """ AS bytes_before
    FROM bound b LEFT JOIN described m ON true
    ORDER BY m.created_at, m.chat_id, m.seq
) s WHERE s.bytes_before < $10
"""
)


class FeedBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a read.

    Attributes:
        lower_snapshot: leave out rows visible in it; None: no such bound.
        upper_snapshot: only rows visible in it; None: all that are committed now.
        from_time: only rows created then or later; None: no such bound.
        after: only rows after this position.
    """

    lower_snapshot: str | None
    upper_snapshot: str | None
    from_time: datetime | None
    after: FeedKey | None


async def read_rows(
    database: Database, user_id: int, bounds: FeedBounds, *, limit: int, most_bytes: int, events: bool
) -> FeedRows:
    """Read up to `limit` rows of all chats of a user; see the comment on the statement.

    The row that exceeds `most_bytes` is the last one.

    Raises:
        StatementFailed: a snapshot is malformed.
    """
    after = bounds.after
    records = await database.fetch(
        _FEED,
        user_id,
        bounds.lower_snapshot,
        bounds.upper_snapshot,
        bounds.from_time,
        None if after is None else moment_of(after.created_at_us),
        None if after is None else after.chat_id,
        None if after is None else after.seq,
        limit + 1,
        events,
        most_bytes,
    )
    return _feed_rows(records, limit)


async def read_shared_rows(
    database: Database, user_id: int, *, lower_snapshot: str, limit: int, most_bytes: int
) -> tuple[FeedRows, list[int]]:
    """Read rows of all kinds not visible in a snapshot, bounded as in `read_rows`, and the transaction of each."""
    events = True
    records = await database.fetch(
        _SHARED, user_id, lower_snapshot, None, None, None, None, None, limit + 1, events, most_bytes
    )
    found = _feed_rows(records, limit)
    return found, [record[_XACT] for record in records[: len(found.rows)]]


# Columns behind those of `described`.
_HERE, _EPOCH, _FOUND, _XACT = range(DESCRIBED_COLUMNS, DESCRIBED_COLUMNS + 4)


def _feed_rows(records: Sequence[Record], limit: int) -> FeedRows:
    """Make the rows of a read of up to limit + 1; without any there is one record, of NULLs and the snapshot."""
    first = records[0]
    rows = tuple(message_row(record) for record in records[:limit]) if first[0] is not None else ()
    return FeedRows(rows, first[_FOUND] > len(rows), first[_HERE], first[_EPOCH])
