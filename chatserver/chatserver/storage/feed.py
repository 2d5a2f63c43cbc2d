"""SQL of the user-wide feed: the exact cursor of pg_current_snapshot()."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import msgspec

from chatserver.storage.database import moment_of
from chatserver.storage.messages import DESCRIBED, DESCRIBED_COLUMNS, ROW_BYTES, TARGET_SEEN, message_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from chatserver.model import MessageRow
    from chatserver.storage.database import Database, Record


class FeedKey(msgspec.Struct, frozen=True, array_like=True):
    """Place of a row in a feed's order."""

    created_at_us: int
    chat_id: int
    seq: int


class FeedRows(msgspec.Struct, frozen=True):
    """One read of the feed.

    Attributes:
        rows: oldest first, at most the asked number.
        more: further ones are there.
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
# one are read. The row that passes the bound of bytes is the page's last one; the others wait for the next page, like
# those beyond its number of rows.
_ROWS = (
    """
WITH bound AS MATERIALIZED (
    SELECT pg_current_snapshot() AS here, coalesce($3::text::pg_snapshot, pg_current_snapshot()) AS upper,
        $2::text::pg_snapshot AS lower
), found AS MATERIALIZED (
    SELECT m.created_at, m.chat_id, m.seq, m.bytes
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
    + ROW_BYTES
    + """ AS bytes FROM messages m
        WHERE m.chat_id = cm.chat_id AND m.seq > low.seq AND m.seq <= coalesce(cm.left_seq, c.last_seq)
            AND pg_visible_in_snapshot(m.xact, b.upper)
            AND ($9 OR m.kind = 'message')
            AND NOT cm.absent @> m.seq
            """
    + TARGET_SEEN
    + """
        ORDER BY m.seq LIMIT $8 + 1
    ) m
    WHERE cm.user_id = $1
        AND (b.lower IS NULL OR c.last_xact >= pg_snapshot_xmin(b.lower))
        AND ($4::timestamptz IS NULL OR c.last_at >= $4::timestamptz)
    ORDER BY m.created_at, m.chat_id, m.seq LIMIT $8 + 1
), picked AS MATERIALIZED (
    SELECT f.chat_id, f.seq FROM (
        SELECT found.*, row_number() OVER sofar AS place, sum(bytes) OVER sofar - bytes AS bytes_before
        FROM found WINDOW sofar AS (ORDER BY created_at, chat_id, seq ROWS UNBOUNDED PRECEDING)
    ) f WHERE f.place <= $8 AND f.bytes_before < $10
), """
    + DESCRIBED
)

_MORE: LiteralString = "(SELECT count(*) FROM found) > (SELECT count(*) FROM picked)"

_FEED = (
    _ROWS
    + """
SELECT d.*, b.here::text, chat_epoch(), """
    + _MORE
    + """ FROM bound b LEFT JOIN described d ON true
ORDER BY d.created_at, d.chat_id, d.seq
"""
)

_SHARED = (
    _ROWS
    + """
SELECT d.*, b.here::text, chat_epoch(), """
    + _MORE
    + """, (
    SELECT m.xact::text::bigint FROM messages m WHERE m.chat_id = d.chat_id AND m.seq = d.seq)
FROM bound b LEFT JOIN described d ON true
ORDER BY d.created_at, d.chat_id, d.seq
"""
)


class FeedBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows a read is about.

    Attributes:
        lower_snapshot: rows it saw are left out; None: no such bound.
        upper_snapshot: only rows it saw; None: all that are committed now.
        from_time: only rows created then or later; None: no such bound.
        after: only rows after this place.
    """

    lower_snapshot: str | None
    upper_snapshot: str | None
    from_time: datetime | None
    after: FeedKey | None


async def read_rows(
    database: Database, user_id: int, bounds: FeedBounds, *, limit: int, most_bytes: int, events: bool
) -> FeedRows:
    """Read up to `limit` rows of all chats of a user, of texts up to `most_bytes`; see the comment on the statement.

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
        limit,
        events,
        most_bytes,
    )
    return _feed_rows([record for record in records if record[0] is not None], records[0])


async def read_shared_rows(
    database: Database, user_id: int, *, lower_snapshot: str, limit: int, most_bytes: int
) -> tuple[FeedRows, list[int]]:
    """Read rows of all kinds that a snapshot does not see, as `read_rows` does, and the transaction of each."""
    records = await database.fetch(
        _SHARED,
        user_id,
        lower_snapshot,
        None,
        None,
        None,
        None,
        None,
        limit,
        True,  # noqa: FBT003 - rows of all kinds
        most_bytes,
    )
    found = [record for record in records if record[0] is not None]
    return _feed_rows(found, records[0]), [record[DESCRIBED_COLUMNS + 3] for record in found]


def _feed_rows(found: Sequence[Record], first: Record) -> FeedRows:
    snapshot, epoch, more = first[DESCRIBED_COLUMNS : DESCRIBED_COLUMNS + 3]
    return FeedRows(tuple(message_row(record) for record in found), more, snapshot, epoch)


async def read_epoch(database: Database) -> str:
    """Return the epoch of the database's history."""
    record = await database.fetchrow("SELECT chat_epoch()")
    return str(record[0]) if record is not None else ""
