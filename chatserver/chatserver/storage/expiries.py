"""SQL of messages that disappear: timers, ranges of rows that go, their deletion and what announces it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString

import msgspec

from chatserver.events import ExpireDetail, stored_detail
from chatserver.storage.calls import affected
from chatserver.storage.described import SHOWN_BYTES

if TYPE_CHECKING:
    from chatserver.storage.announcing import Announcement
    from chatserver.storage.database import Connection, Database

LEASE_SECONDS: Final = 60.0
"""Seconds for which a server has a range for itself, from its last batch of it: then another one continues."""

REMEMBERED_DAYS: Final = 30
"""Days from a message on for which its client_id is known, whether it has gone or not."""

# A condition of its own would have an index read on to the end of the chat.
_WITHIN: Final[LiteralString] = "m.seq <= coalesce(e.to_seq, 9223372036854775807)"

# The first row that is left of a range `e`, if there is one.
_WITH_OLDEST: Final[LiteralString] = (
    "LEFT JOIN LATERAL (SELECT m.created_at FROM messages m WHERE m.chat_id = e.chat_id AND m.seq > e.done_seq AND "
    + _WITHIN
    + " ORDER BY m.seq LIMIT 1) oldest ON true"
)

# Seconds between two rows `expire` of a range, so that a busy chat gets few of them: a sixtieth of the timer.
_PAUSE_LEAST_SECONDS: Final = 10
_PAUSE_MOST_SECONDS: Final = 3600


class Range(msgspec.Struct, frozen=True):
    """Rows of a chat that go; named by the first of them.

    Attributes:
        from_seq: the row after that of the timer; 1 for the retention of all chats.
    """

    chat_id: int
    from_seq: int


class Batch(msgspec.Struct, frozen=True):
    """What one statement deleted of a range.

    Attributes:
        more: there may be more that is due.
        deleted: messages.
    """

    more: bool
    deleted: int


# --- timers


async def timer(connection: Connection, chat_id: int) -> int | None:
    """Return the seconds after which messages of a chat that the transaction has locked go; None: they stay."""
    seconds: int | None = await connection.fetchval("SELECT disappear_after FROM chats WHERE chat_id = $1", chat_id)
    return seconds


async def set_timer(connection: Connection, user_id: int, chat_id: int, seconds: int | None, seq: int) -> None:
    """Have a chat's messages after the row `seq` go after so many seconds; None: they stay.

    Those from before keep the timer under which they were sent.
    """
    await connection.execute(
        "UPDATE chats SET disappear_after = $2, has_expiries = true WHERE chat_id = $1", chat_id, seconds
    )
    await connection.execute(
        "UPDATE expiries SET to_seq = $2 WHERE chat_id = $1 AND to_seq IS NULL AND seconds IS NOT NULL", chat_id, seq
    )
    if seconds is not None:
        await connection.execute(
            "INSERT INTO expiries (chat_id, from_seq, seconds, user_id, done_seq, announced_seq, due_at) "
            "VALUES ($1, $2::bigint + 1, $3::integer, $4, $2, $2, now() + make_interval(secs => $3::integer))",
            chat_id,
            seq,
            seconds,
            user_id,
        )


# --- what is due

# The rows of a chat rise in time, so that the first one that is left decides. A range in which nothing is left is
# looked at again when something that is sent now would be due.
_CLAIM = (
    """
WITH held AS MATERIALIZED (
    SELECT e.chat_id, e.from_seq, e.to_seq, e.done_seq, e.announced_seq, coalesce(e.seconds, $1::integer) AS seconds
    FROM expiries e
    WHERE e.due_at <= now() AND (e.leased_until IS NULL OR e.leased_until < now())
    ORDER BY e.due_at LIMIT $2 FOR UPDATE SKIP LOCKED
), looked AS MATERIALIZED (
    SELECT e.chat_id, e.from_seq,
        e.done_seq > e.announced_seq
            OR coalesce(oldest.created_at <= now() - make_interval(secs => e.seconds), false)
            OR (e.to_seq IS NOT NULL AND oldest.created_at IS NULL) AS is_due,
        coalesce(oldest.created_at, now()) + make_interval(secs => e.seconds) AS next_at
    FROM held e """
    + _WITH_OLDEST
    + """
)
UPDATE expiries e SET due_at = CASE WHEN l.is_due THEN e.due_at ELSE l.next_at END,
    leased_until = CASE WHEN l.is_due THEN now() + make_interval(secs => $3) END
FROM looked l WHERE e.chat_id = l.chat_id AND e.from_seq = l.from_seq
RETURNING e.chat_id, e.from_seq, l.is_due
"""
)


async def claim(database: Database, *, retention_seconds: int | None, limit: int) -> tuple[list[Range], bool]:
    """Return ranges with something to do, for this server alone, and whether more may be due.

    Args:
        database: where they are.
        retention_seconds: after which messages of all chats go; None: they stay.
        limit: ranges that are looked at.
    """
    records = await database.fetch(_CLAIM, retention_seconds, limit, LEASE_SECONDS)
    return [Range(record[0], record[1]) for record in records if record[2]], len(records) == limit


async def lag_seconds(database: Database) -> float:
    """Return for how long the range that waits longest has been due; 0: none is."""
    record = await database.fetchrow(
        "SELECT coalesce(greatest(extract(epoch FROM now() - min(due_at)), 0), 0)::float8 FROM expiries "
        "WHERE due_at IS NOT NULL"
    )
    return 0.0 if record is None else float(record[0])


# --- deletion

# All ranges of the chat are locked: two servers would else lock the same messages in different orders. The chat is not,
# so that nothing waits that does not change one of these very messages.
_DELETE = (
    """
WITH held AS MATERIALIZED (
    SELECT e.from_seq, e.to_seq, e.done_seq, coalesce(e.seconds, $3::integer) AS seconds
    FROM expiries e WHERE e.chat_id = $1 ORDER BY e.from_seq FOR UPDATE
), read AS MATERIALIZED (
    SELECT m.seq, m.kind, m.created_at, m.bytes, e.seconds
    FROM held e CROSS JOIN LATERAL (
        SELECT m.seq, m.kind, m.created_at, """
    + SHOWN_BYTES
    + """ AS bytes FROM messages m WHERE m.chat_id = $1 AND m.seq > e.done_seq AND """
    + _WITHIN
    + """
        ORDER BY m.seq LIMIT $4
    ) m WHERE e.from_seq = $2
), due AS MATERIALIZED (
    SELECT r.seq, r.kind FROM (
        SELECT read.*, sum(read.bytes) OVER (ORDER BY read.seq) - read.bytes AS bytes_before FROM read
    ) r WHERE r.created_at <= now() - make_interval(secs => r.seconds) AND r.bytes_before < $5
), gone AS (
    DELETE FROM messages m WHERE m.chat_id = $1 AND m.seq IN (SELECT d.seq FROM due d WHERE d.kind = 'message')
    RETURNING m.seq, m.message_id, m.sender_id, m.client_id, m.created_at
), remembered AS (
    INSERT INTO expired_sends (chat_id, sender_id, client_id, seq, message_id, created_at)
    SELECT $1, g.sender_id, g.client_id, g.seq, g.message_id, g.created_at FROM gone g
    WHERE g.created_at > now() - make_interval(days => $6)
    ON CONFLICT DO NOTHING
), moved AS (
    UPDATE expiries e SET done_seq = greatest(e.done_seq, d.seq), leased_until = now() + make_interval(secs => $7),
        has_gone = e.has_gone OR EXISTS (SELECT FROM gone)
    FROM (SELECT max(due.seq) AS seq FROM due) d
    WHERE e.chat_id = $1 AND e.from_seq = $2
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM read), (SELECT count(*) FROM gone)
"""
)


async def delete_due(
    database: Database, place: Range, *, retention_seconds: int | None, most_rows: int, most_bytes: int
) -> Batch:
    """Delete what is due of a range, its beginning first: `most_rows` at most, to the message that passes `most_bytes`.

    Each batch is committed with how far it came, so that another server continues from there.
    """
    record = await database.fetchrow(
        _DELETE,
        place.chat_id,
        place.from_seq,
        retention_seconds,
        most_rows,
        most_bytes,
        REMEMBERED_DAYS,
        LEASE_SECONDS,
    )
    due, read, deleted = (0, 0, 0) if record is None else record
    # All that was read is due, or the bytes were enough.
    return Batch(more=due > 0 and (due == most_rows or due < read), deleted=deleted)


_ABOUT = """
DELETE FROM messages WHERE chat_id = $1 AND seq IN (
    SELECT m.seq FROM expiries e JOIN messages m ON m.chat_id = e.chat_id
        AND m.target_seq > e.announced_seq AND m.target_seq <= e.done_seq
    WHERE e.chat_id = $1 AND e.from_seq = $2 LIMIT $3)
"""


async def delete_changes(connection: Database | Connection, place: Range, *, most_rows: int) -> int:
    """Delete edits, deletions and reactions of messages that have gone and are not announced; returns how many."""
    return affected(await connection.execute(_ABOUT, place.chat_id, place.from_seq, most_rows))


# --- announcement


class Unannounced(msgspec.Struct, frozen=True):
    """What is not announced of a range of a locked chat.

    Attributes:
        user_id: whose the row is.
        up_to_seq: up to here messages have gone.
        has_gone: whether there were any: the rows may all be of kinds that stay.
    """

    user_id: int
    up_to_seq: int
    has_gone: bool
    expire_seq: int | None


async def lock_pending(connection: Connection, place: Range) -> Unannounced | None:
    """Lock a chat, as every writer does, and a range of it; None: all of it is announced."""
    # A chat that somebody holds for long waits for the next round.
    await connection.execute("SELECT set_config('lock_timeout', '1000', true)")
    # Before the range: whoever sets a timer locks them in this order.
    await connection.execute("SELECT FROM chats WHERE chat_id = $1 FOR NO KEY UPDATE", place.chat_id)
    record = await connection.fetchrow(
        "SELECT user_id, done_seq, has_gone, expire_seq FROM expiries WHERE chat_id = $1 AND from_seq = $2 "
        "AND done_seq > announced_seq FOR UPDATE",
        place.chat_id,
        place.from_seq,
    )
    return None if record is None else Unannounced(*record)


async def forget_details(connection: Connection, place: Range) -> None:
    """Delete what else is kept of messages of a range that have gone: earlier versions, stars."""
    await connection.execute(
        "DELETE FROM message_versions v USING expiries e WHERE e.chat_id = $1 AND e.from_seq = $2 "
        "AND v.chat_id = e.chat_id AND v.seq > e.announced_seq AND v.seq <= e.done_seq",
        place.chat_id,
        place.from_seq,
    )
    await connection.execute(
        "DELETE FROM stars s USING expiries e WHERE e.chat_id = $1 AND e.from_seq = $2 "
        "AND s.chat_id = e.chat_id AND s.seq >= e.from_seq AND s.seq <= e.done_seq",
        place.chat_id,
        place.from_seq,
    )


async def append_expire(connection: Connection, announcement: Announcement, place: Range, pending: Unannounced) -> int:
    """Add the row that announces what has gone of a range of a locked chat, instead of the one before; returns its seq.

    Its time is that of the chat's last row: an expiry is no activity, and moves no chat in the list.
    """
    seq: int = await connection.fetchval(
        "WITH advanced AS (UPDATE chats SET last_seq = last_seq + 1, last_xact = pg_current_xact_id() "
        "WHERE chat_id = $1 RETURNING last_seq, last_at) "
        "INSERT INTO messages (chat_id, seq, kind, sender_id, detail, created_at) "
        "SELECT $1, a.last_seq, 'expire', $2, $3::jsonb, a.last_at FROM advanced a RETURNING seq",
        place.chat_id,
        pending.user_id,
        msgspec.json.encode(stored_detail(ExpireDetail(from_seq=place.from_seq, up_to_seq=pending.up_to_seq))).decode(),
    )
    announcement.row(place.chat_id, seq)
    # Not one that somebody may still get who left since, and to whom the new one is not shown.
    await connection.execute(
        "DELETE FROM messages WHERE chat_id = $1 AND seq = $2 AND NOT EXISTS ("
        "SELECT FROM chat_members cm WHERE cm.chat_id = $1 AND cm.left_seq >= $2)",
        place.chat_id,
        pending.expire_seq,
    )
    return seq


_SETTLE = (
    """
WITH left_over AS MATERIALIZED (
    SELECT oldest.created_at, e.to_seq IS NOT NULL AND oldest.created_at IS NULL AS is_over,
        e.seconds IS NULL AS is_retention, coalesce(e.seconds, $3::integer) AS seconds
    FROM expiries e """
    + _WITH_OLDEST
    + """
    WHERE e.chat_id = $1 AND e.from_seq = $2
), removed AS (
    DELETE FROM expiries e USING left_over l WHERE e.chat_id = $1 AND e.from_seq = $2 AND l.is_over
)
UPDATE expiries e SET announced_seq = e.done_seq, has_gone = false,
    expire_seq = coalesce($4::bigint, e.expire_seq), leased_until = NULL,
    due_at = CASE
        WHEN NOT l.is_retention THEN greatest(
            coalesce(l.created_at, now()) + make_interval(secs => l.seconds),
            now() + make_interval(secs => least(greatest(l.seconds / 60, $5::integer), $6::integer)))
        -- The walk comes by when more is due, unless this ended before all was done.
        WHEN l.created_at <= now() - make_interval(secs => l.seconds) THEN now() END
FROM left_over l WHERE e.chat_id = $1 AND e.from_seq = $2 AND NOT l.is_over
"""
)


async def settle(
    connection: Connection, place: Range, *, retention_seconds: int | None, expire_seq: int | None
) -> None:
    """Let a range be looked at again when the first of its rows that are left is due; one that is over is removed.

    Args:
        connection: of the transaction that announced what has gone, or found nothing to announce.
        place: the range, locked.
        retention_seconds: as of `claim`.
        expire_seq: the row that announced it, if there was one.
    """
    await connection.execute(
        _SETTLE,
        place.chat_id,
        place.from_seq,
        retention_seconds,
        expire_seq,
        _PAUSE_LEAST_SECONDS,
        _PAUSE_MOST_SECONDS,
    )


async def forget_sends(database: Database, limit: int) -> int:
    """Delete up to `limit` client_ids of messages older than REMEMBERED_DAYS that have gone; returns how many."""
    tag = await database.execute(
        "DELETE FROM expired_sends WHERE (chat_id, sender_id, client_id) IN ("
        "SELECT s.chat_id, s.sender_id, s.client_id FROM expired_sends s "
        "WHERE s.created_at < now() - make_interval(days => $1) "
        "ORDER BY s.created_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        REMEMBERED_DAYS,
        limit,
    )
    return affected(tag)
