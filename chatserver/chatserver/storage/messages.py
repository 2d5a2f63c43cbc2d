"""SQL of messages: appending batches, and reading rows with their names and status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, LiteralString

import msgspec

from chatserver import emojis
from chatserver.model import DELETED_NAME, Delivery, MessageRow, MessageType, Reaction, SeqRange
from chatserver.storage.database import micros, micros_or_none
from chatserver.storage.status import MARKS, STATUS
from chatserver.supervision import caught

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from chatserver.storage.database import Connection, Database, Record

Outcome = Literal["stored", "duplicate", "conflict", "chat_not_found", "not_a_member", "blocked", "reply_not_found"]


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message ready to be stored: checked, and with its chat known.

    Attributes:
        client_hash: hash of the content; the same client_id with another hash is a conflict.
    """

    chat_id: int
    sender_id: int
    client_id: str
    client_hash: bytes
    text: str | None
    type: MessageType
    media_url: str | None
    reply_to: int | None
    client_timestamp: datetime | None


class AppendResult(msgspec.Struct, frozen=True):
    """What became of one message of a batch; the numbers mean nothing when it was refused.

    Attributes:
        from_name: its sender as clients see them.
        to_name: in a direct chat the other one; None in groups.
        member_ids: with the first row that a batch stores in a chat, who may see its rows; None with all others.
    """

    outcome: Outcome
    message_id: int | None
    seq: int | None
    created_at_us: int | None
    from_name: str = ""
    to_name: str | None = None
    member_ids: Sequence[int] | None = None


async def store_messages(database: Database, batch: Sequence[NewMessage]) -> list[AppendResult]:
    """Store a batch in one transaction and hint it; returns one result for each message, in the same order.

    Args:
        database: where to write.
        batch: no client_id of a sender twice in one chat.

    Raises:
        ServiceUnavailable: nothing is known to be stored (a chat is locked for long, or the database is away).
        StatementFailed: nothing is stored; one of the messages cannot be.
    """
    records = await database.fetch(
        "SELECT * FROM store_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        database.server_name,
        [message.chat_id for message in batch],
        [message.sender_id for message in batch],
        [message.client_id for message in batch],
        [message.client_hash for message in batch],
        [message.text for message in batch],
        [message.type for message in batch],
        [message.media_url for message in batch],
        [message.reply_to for message in batch],
        [message.client_timestamp for message in batch],
    )
    return [
        AppendResult(outcome, message_id, seq, micros_or_none(created_at), from_name, to_name, member_ids)
        for outcome, message_id, seq, created_at, from_name, to_name, member_ids in records
    ]


async def append_event(
    connection: Connection,
    origin: str,
    *,
    chat_id: int,
    sender_id: int,
    kind: str,
    detail: dict[str, object] | None = None,
    target_seq: int | None = None,
) -> int:
    """Add an event to a chat that the transaction of `connection` has locked; returns its seq."""
    seq: int = await connection.fetchval(
        "SELECT append_event($1, $2, $3, $4, $5, $6)",
        origin,
        chat_id,
        sender_id,
        kind,
        target_seq,
        None if detail is None else msgspec.json.encode(detail).decode(),
    )
    return seq


async def open_direct_chat(database: Database, user_id: int, other_id: int) -> int:
    """Return the direct chat of two users, made if need be."""
    record = await database.fetchrow("SELECT open_direct_chat($1, $2, $3)", database.server_name, user_id, other_id)
    return int(record[0]) if record is not None else 0


SIZED_COLUMNS: Final[LiteralString] = """coalesce(octet_length(m.media_url), 0)
                + coalesce(pg_column_size(m.detail), 0) + coalesce(pg_column_size(m.reactions), 0)"""

ROW_BYTES: Final[LiteralString] = (
    """coalesce(octet_length(CASE WHEN m.kind = 'edit' THEN (
                SELECT t.message_text FROM messages t WHERE t.chat_id = m.chat_id AND t.seq = m.target_seq)
                ELSE m.message_text END), 0) + """
    + SIZED_COLUMNS
)
"""Stored bytes of what a row `m` is shown with; nothing is read for it, since a value's size stands at its head."""

SHOWN_BYTES: Final[LiteralString] = """coalesce(octet_length(m.message_text), 0) + """ + SIZED_COLUMNS
"""The same of a row `m` of `described`, whose text is already the one that is shown."""

DESCRIBED: Final[LiteralString] = (
    MARKS
    + """, described AS (
    SELECT m.chat_id, m.seq, m.kind, m.target_seq, m.message_id, m.sender_id,
        coalesce(sender.username, sender.phone_number, '"""
    + DELETED_NAME
    + """') AS from_name,
        CASE WHEN other.user_id IS NOT NULL THEN coalesce(
            other.username, other.phone_number, '"""
    + DELETED_NAME
    + """') END AS to_name,
        -- An edit shows its target's text of now, so that what was deleted or replaced is kept nowhere. A subquery
        -- and no join: the other kinds, which are nearly all rows, do not pay for it.
        CASE WHEN m.kind = 'edit' THEN (
            SELECT t.message_text FROM messages t WHERE t.chat_id = m.chat_id AND t.seq = m.target_seq)
        ELSE m.message_text END AS message_text,
        m.message_type, m.media_url, m.reply_to, m.detail, m.created_at,
"""
    + STATUS
    + """ AS status,
        m.client_id, m.client_timestamp, m.edited_at, m.deleted_at, m.reactions
    FROM picked p
    JOIN messages m USING (chat_id, seq)
    JOIN users sender ON sender.user_id = m.sender_id
    LEFT JOIN marks k ON k.chat_id = m.chat_id
    LEFT JOIN direct_chats d ON d.chat_id = m.chat_id
    LEFT JOIN users other ON other.user_id = CASE WHEN d.user_lo = m.sender_id THEN d.user_hi ELSE d.user_lo END
)
"""
)
"""CTEs that turn `picked (chat_id, seq)` into `described`, whose columns `message_row` reads in this order."""

TARGET_SEEN: Final[LiteralString] = """
    AND (m.target_seq IS NULL OR (m.target_seq > cm.joined_seq AND NOT cm.absent @> m.target_seq))
"""
"""What is about a row that the member `cm` may not see is not theirs either: an edit would show its text."""

DESCRIBED_COLUMNS: Final = 20
"""Columns of `described`."""


def message_row(record: Record) -> MessageRow:
    """Make a row from a record that begins with the columns of `described`.

    A row whose details cannot be read comes without them: it must not take the page along, which it is a part of.
    """
    (
        chat_id, seq, kind, target_seq, message_id, sender_id, from_name, to_name, text, type_, media_url, reply_to,
        detail, created_at, status, client_id, client_timestamp, edited_at, deleted_at, reactions,
        *_,
    ) = record  # fmt: skip
    try:
        created_at_us = micros(created_at)
        details = None if detail is None else _decode_detail(detail)
        if kind == "reaction" and details is not None and isinstance(details.get("emoji"), str):
            # As in `reactions`: who applies the events has what a fetch returns.
            details["emoji"] = emojis.spelled(details["emoji"])
        by_emoji = () if reactions is None else _by_emoji(_decode_reactions(reactions))
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        caught("row_unreadable", error, chat_id=chat_id, seq=seq)
        created_at_us, details, by_emoji = 0, None, ()
    return MessageRow(
        chat_id=chat_id,
        seq=seq,
        kind=kind,
        target_seq=target_seq,
        message_id=message_id,
        from_id=sender_id,
        from_name=from_name,
        to=to_name,
        text=text,
        type=type_,
        media_url=media_url,
        reply_to=reply_to,
        detail=details,
        created_at_us=created_at_us,
        status=status,
        client_id=str(client_id),
        client_timestamp_us=micros_or_none(client_timestamp),
        edited_at_us=micros_or_none(edited_at),
        deleted_at_us=micros_or_none(deleted_at),
        reactions=by_emoji,
    )


_decode_detail = msgspec.json.Decoder(dict[str, Any]).decode
_decode_reactions = msgspec.json.Decoder(dict[int, str]).decode


def _by_emoji(reactions: dict[int, str]) -> tuple[Reaction, ...]:
    """Turn {user_id: emoji} into one entry an emoji, in an order that only the content decides."""
    users: dict[str, list[int]] = {}
    for user_id, emoji in sorted(reactions.items()):
        users.setdefault(emojis.spelled(emoji), []).append(user_id)
    return tuple(Reaction(emoji, tuple(user_ids)) for emoji, user_ids in sorted(users.items()))


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

    `newest` says which end of the range the bounds keep: up to `limit` rows and `most_bytes`; the row that passes them
    is the last one.
    """
    order: LiteralString = "DESC" if newest else "ASC"
    records = await database.fetch(
        """
        WITH found AS MATERIALIZED (
            SELECT m.chat_id, m.seq, """
        + ROW_BYTES
        + """ AS bytes
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
            SELECT f.chat_id, f.seq FROM (
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
        [item.chat_id for item in ranges],
        [item.first_seq for item in ranges],
        [item.last_seq for item in ranges],
    )
    return {record[0]: record[1] for record in records}


async def deliveries(connection: Connection, ranges: Sequence[SeqRange], user_ids: Sequence[int]) -> list[Delivery]:
    """Return the rows of many ranges, each with those of the users who may see it, by chat and seq."""
    records = await connection.fetch(
        """
        WITH ranged AS MATERIALIZED (
            -- First, and by both bounds: joined to the members before, a chat's history was read for each of them.
            SELECT m.chat_id, m.seq, m.target_seq
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (chat_id, first_seq, last_seq)
            CROSS JOIN LATERAL (
                SELECT m.chat_id, m.seq, m.target_seq FROM messages m
                WHERE m.chat_id = r.chat_id AND m.seq BETWEEN r.first_seq AND r.last_seq OFFSET 0
            ) m
        ), members AS MATERIALIZED (
            -- All of a chat's: looking each user up in each chat grows with both.
            SELECT cm.chat_id, cm.user_id, cm.joined_seq, cm.left_seq, cm.absent FROM chat_members cm
            WHERE cm.chat_id = ANY (ARRAY(SELECT DISTINCT m.chat_id FROM ranged m))
        ), readers AS MATERIALIZED (
            SELECT m.chat_id, m.seq, array_agg(cm.user_id) AS user_ids
            FROM ranged m
            JOIN members cm ON cm.chat_id = m.chat_id
                AND m.seq > cm.joined_seq
                AND (cm.left_seq IS NULL OR m.seq <= cm.left_seq)
                AND NOT cm.absent @> m.seq
                """
        + TARGET_SEEN
        + """
            WHERE cm.user_id IN (SELECT unnest($4::bigint[]))
            GROUP BY m.chat_id, m.seq
        ), picked AS (SELECT chat_id, seq FROM readers), """
        + DESCRIBED
        + "SELECT d.*, r.user_ids FROM described d JOIN readers r USING (chat_id, seq) ORDER BY d.chat_id, d.seq",
        [item.chat_id for item in ranges],
        [item.first_seq for item in ranges],
        [item.last_seq for item in ranges],
        list(user_ids),
    )
    return [Delivery(message_row(record), tuple(record[DESCRIBED_COLUMNS])) for record in records]
