"""SQL of messages: appending batches, and reading rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, LiteralString, TypeVar

import msgspec

from chatserver.events import kind_of, stored_detail
from chatserver.hints import Hint, MembershipChange
from chatserver.model import Content, Delivery, MessageRow, SeqRange
from chatserver.storage.described import AS_OF, DESCRIBED, DESCRIBED_COLUMNS, ROW_BYTES, TARGET_SEEN, message_row
from chatserver.storage.times import micros_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from chatserver.events import EventDetail
    from chatserver.storage.announcing import Announcement
    from chatserver.storage.calls import CallTimes
    from chatserver.storage.database import Connection, Database

Value = TypeVar("Value")

Outcome = Literal[
    "stored", "duplicate", "conflict", "chat_not_found", "not_a_member", "not_an_admin", "blocked", "reply_not_found"
]  # fmt: skip


class NewMessage(Content, frozen=True, kw_only=True):
    """One message ready to be stored: validated, and with its chat known.

    Attributes:
        client_hash: hash of the content; the same client_id with another hash is a conflict.
    """

    chat_id: int
    sender_id: int
    client_id: str
    client_hash: bytes
    client_timestamp: datetime | None


class AppendResult(msgspec.Struct, frozen=True):
    """The result for one message of a batch; the numbers are None if it was rejected.

    Attributes:
        from_name: its sender as clients see them.
        to_name: in a direct chat the other one; None in groups.
        member_ids: for the first row that a batch stores in a chat, who may see its rows; None for all others.
    """

    outcome: Outcome
    message_id: int | None
    seq: int | None
    created_at_us: int | None
    from_name: str = ""
    to_name: str | None = None
    member_ids: Sequence[int] | None = None


async def store_messages(database: Database, batch: Sequence[NewMessage], call: CallTimes) -> list[AppendResult]:
    """Store a batch in one transaction, and publish its hint; returns a result for each message, in order.

    Args:
        database: where to write.
        batch: messages, with no client_id of a sender twice in one chat.
        call: gets the times.

    Raises:
        ServiceUnavailable: the batch may or may not be stored (a chat is locked for long, or the database is
            unavailable).
        StatementFailed: nothing is stored; one of the messages cannot be.
    """
    with database.hints.leaving(len(batch)) as leaving:
        records = await database.fetch(
            "SELECT * FROM store_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            database.server_name,
            *leaving.place,
            [message.chat_id for message in batch],
            [message.sender_id for message in batch],
            [message.client_id for message in batch],
            [message.client_hash for message in batch],
            [message.text for message in batch],
            [message.message_type for message in batch],
            _sparse([message.media_url for message in batch]),
            _sparse([message.reply_to for message in batch]),
            _sparse([message.client_timestamp for message in batch]),
            call=call,
        )
        results = [
            AppendResult(outcome, message_id, seq, micros_or_none(created_at), from_name, to_name, member_ids)
            for outcome, message_id, seq, created_at, from_name, to_name, member_ids in records
        ]
        leaving.hint = _hint_of(database.server_name, batch, results)
    return results


def _sparse(column: list[Value]) -> list[Value]:
    """Return an empty column if it has only None: unnest() fills it up, and asyncpg looks at each element twice."""
    return column if column.count(None) < len(column) else []  # type: ignore[arg-type] # it may have none


def _hint_of(origin: str, batch: Sequence[NewMessage], results: Sequence[AppendResult]) -> Hint | None:
    """Return what a batch stored, one range a chat: a chat's numbers rise in the order of the batch."""
    ranges: dict[int, SeqRange] = {}
    audiences: dict[int, Sequence[int]] = {}
    for message, result in zip(batch, results, strict=True):
        if result.outcome == "stored" and result.seq is not None:
            chat_id = message.chat_id
            known = ranges.get(chat_id)
            first_seq = result.seq if known is None else known.first_seq
            ranges[chat_id] = SeqRange(chat_id, first_seq, result.seq)
            if result.member_ids is not None:
                audiences[chat_id] = result.member_ids
    return Hint(origin, ranges=tuple(ranges.values()), is_batch=True, audiences=audiences) if ranges else None


async def append_event(
    connection: Connection,
    announcement: Announcement,
    *,
    chat_id: int,
    sender_id: int,
    detail: EventDetail,
    target_seq: int | None = None,
) -> int:
    """Add an event to a chat that the transaction of `connection` has locked, and announce it; returns its seq."""
    stored = stored_detail(detail)
    seq: int = await connection.fetchval(
        "SELECT append_event($1, $2, $3, $4, $5)",
        chat_id,
        sender_id,
        kind_of(detail),
        target_seq,
        None if stored is None else msgspec.json.encode(stored).decode(),
    )
    announcement.row(chat_id, seq)
    return seq


async def open_direct_chat(database: Database, user_id: int, other_id: int) -> int | None:
    """Return the direct chat of two users, creating it if needed; None: one of them blocks the other."""
    with database.hints.leaving(1) as leaving:
        record = await database.fetchrow(
            "SELECT open_direct_chat($1, $2, $3, $4, $5, $6) WHERE NOT EXISTS (SELECT FROM blocks b "
            "WHERE (b.blocker_id, b.blocked_id) IN (($5::bigint, $6::bigint), ($6::bigint, $5::bigint)))",
            database.server_name,
            *leaving.place,
            user_id,
            other_id,
        )
        if record is None:
            return None
        chat_id: int
        chat_id, is_new = record[0]
        if is_new:
            members = MembershipChange(chat_id, tuple(sorted({user_id, other_id})))
            leaving.hint = Hint(database.server_name, members=(members,))
        return chat_id


async def history_rows(
    database: Database,
    user_id: int,
    chat_id: int,
    *,
    after: int,
    before: int | None,
    newest: bool,
    limit: int,
    most_bytes: int,
) -> tuple[list[MessageRow], bool]:
    """Return rows of a chat that the user may see, with after < seq < before, oldest first, and whether more are there.

    `newest` decides which end of the range is kept: up to `limit` rows and `most_bytes`; the row that exceeds them is
    the last one.
    """
    order: LiteralString = "DESC" if newest else "ASC"
    records = await database.fetch(
        """
        WITH found AS MATERIALIZED (
            SELECT m.chat_id, m.seq, """
        + ROW_BYTES
        + """ AS bytes, """
        + AS_OF
        + """
            FROM chat_members cm JOIN messages m ON m.chat_id = cm.chat_id
            WHERE cm.chat_id = $2 AND cm.user_id = $1
                AND m.seq > greatest(cm.joined_seq, $3::bigint)
                AND m.seq < $4::bigint
                AND (cm.left_seq IS NULL OR m.seq <= cm.left_seq)
                AND NOT cm.absent @> m.seq
                """
        + TARGET_SEEN
        + """
            ORDER BY m.seq """
        + order
        + """ LIMIT $5 + 1
        ), picked AS MATERIALIZED (
            SELECT f.chat_id, f.seq, f.as_of FROM (
                SELECT found.*, sum(bytes) OVER sofar - bytes AS bytes_before
                FROM found WINDOW sofar AS (ORDER BY seq """
        + order
        + """ ROWS UNBOUNDED PRECEDING)
            ) f WHERE f.bytes_before < $6
            ORDER BY f.seq """
        + order
        + """ LIMIT $5
        ), """
        + DESCRIBED
        + "SELECT d.*, (SELECT count(*) FROM found) > (SELECT count(*) FROM picked) FROM described d ORDER BY d.seq",
        user_id,
        chat_id,
        after,
        before if before is not None else 2**62,
        limit,
        most_bytes,
    )
    return [message_row(record) for record in records], bool(records and records[0][DESCRIBED_COLUMNS])


async def text_bytes(connection: Connection, ranges: Sequence[SeqRange]) -> dict[int, int]:
    """Return {chat_id: bytes of the texts of its rows} of ranges, one a chat; no text is read."""
    records = await connection.fetch(
        """
        SELECT r.chat_id, m.bytes
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (chat_id, first_seq, last_seq)
        CROSS JOIN LATERAL (
            SELECT coalesce(sum("""
        + ROW_BYTES
        + """), 0)::bigint AS bytes FROM messages m
            WHERE m.chat_id = r.chat_id AND m.seq BETWEEN r.first_seq AND r.last_seq
        ) m
        """,
        *_columns(ranges),
    )
    return {record[0]: record[1] for record in records}


# First, and by both bounds: a join with the members before it read a chat's history for each member.
_RANGED: Final[LiteralString] = """
WITH ranged AS MATERIALIZED (
    SELECT m.chat_id, m.seq, m.kind, m.target_seq
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (chat_id, first_seq, last_seq)
    CROSS JOIN LATERAL (
        SELECT m.chat_id, m.seq, m.kind, m.target_seq FROM messages m
        WHERE m.chat_id = r.chat_id AND m.seq BETWEEN r.first_seq AND r.last_seq OFFSET 0
    ) m
)"""

# The smallest chats first: chats with many missed rows take no room from the others.
_RANGED_LIGHT: Final[LiteralString] = (
    """
WITH ranged AS MATERIALIZED (
    SELECT m.chat_id, m.seq, m.kind, m.target_seq, m.chat_bytes FROM (
        SELECT m.*, sum(m.bytes) OVER (ORDER BY m.chat_bytes, m.chat_id) AS bytes_so_far FROM (
            SELECT m.*, sum(m.bytes) OVER (PARTITION BY m.chat_id)::bigint AS chat_bytes
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (chat_id, first_seq, last_seq)
            CROSS JOIN LATERAL (
                SELECT m.chat_id, m.seq, m.kind, m.target_seq, """
    + ROW_BYTES
    + """ AS bytes FROM messages m
                WHERE m.chat_id = r.chat_id AND m.seq BETWEEN r.first_seq AND r.last_seq OFFSET 0
            ) m
        ) m
    ) m WHERE m.bytes_so_far <= $5
)"""
)

_READERS: Final[LiteralString] = (
    """, members AS MATERIALIZED (
    -- All of a chat's: looking each user up in each chat grows with both.
    SELECT cm.chat_id, cm.user_id, cm.joined_seq, cm.left_seq, cm.absent FROM chat_members cm
    WHERE cm.chat_id = ANY (ARRAY(SELECT DISTINCT m.chat_id FROM ranged m))
), readers AS MATERIALIZED (
    SELECT s.chat_id, s.seq, s.as_of, array_agg(s.user_id) AS user_ids FROM (
    SELECT m.chat_id, m.seq, cm.user_id, """
    + AS_OF
    + """
    FROM ranged m
    JOIN members cm ON cm.chat_id = m.chat_id
        AND m.seq > cm.joined_seq
        AND (cm.left_seq IS NULL OR m.seq <= cm.left_seq)
        AND NOT cm.absent @> m.seq
        """
    + TARGET_SEEN
    + """
    WHERE cm.user_id IN (SELECT unnest($4::bigint[]))
    ) s
    GROUP BY s.chat_id, s.seq, s.as_of
), picked AS (SELECT chat_id, seq, as_of FROM readers), """
    + DESCRIBED
)

_OF_READERS: Final[LiteralString] = """
FROM described d JOIN readers r USING (chat_id, seq)
WHERE d.as_of IS NOT DISTINCT FROM r.as_of
ORDER BY d.chat_id, d.seq"""


async def deliveries(connection: Connection, ranges: Sequence[SeqRange], user_ids: Sequence[int]) -> list[Delivery]:
    """Return the rows of many ranges, each with which of the users may see it, by chat and seq.

    A row is returned more than once if former members see an earlier version of it.
    """
    records = await connection.fetch(
        _RANGED + _READERS + "SELECT d.*, r.user_ids" + _OF_READERS, *_columns(ranges), list(user_ids)
    )
    return [Delivery(message_row(record), tuple(record[DESCRIBED_COLUMNS])) for record in records]


async def light_deliveries(
    connection: Connection, ranges: Sequence[SeqRange], user_ids: Sequence[int], *, most_bytes: int
) -> tuple[list[Delivery], dict[int, int]]:
    """Return the rows of many ranges as `deliveries` does, of as many chats as fit, and {chat_id: bytes of its texts}.

    Chats that do not fit, the largest ones, are left out whole: neither their texts nor their members are read.

    Args:
        connection: where to read.
        ranges: one a chat.
        user_ids: of whom each row names those who may see it.
        most_bytes: of the texts of all rows, as they are stored.
    """
    records = await connection.fetch(
        _RANGED_LIGHT
        + _READERS
        + "SELECT d.*, r.user_ids, (SELECT m.chat_bytes FROM ranged m WHERE m.chat_id = d.chat_id LIMIT 1)"
        + _OF_READERS,
        *_columns(ranges),
        list(user_ids),
        most_bytes,
    )
    rows = [Delivery(message_row(record), tuple(record[DESCRIBED_COLUMNS])) for record in records]
    return rows, {record[0]: record[_CHAT_BYTES] for record in records}


_CHAT_BYTES: Final = DESCRIBED_COLUMNS + 1


def _columns(ranges: Sequence[SeqRange]) -> tuple[list[int], list[int], list[int]]:
    return (
        [item.chat_id for item in ranges],
        [item.first_seq for item in ranges],
        [item.last_seq for item in ranges],
    )
