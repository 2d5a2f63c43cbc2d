"""SQL that reads rows with names, status and content: the current version or, for former members, an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString

import msgspec

from chatserver import emojis
from chatserver.model import DELETED_NAME, MessageRow, Reaction
from chatserver.storage.status import MARKS, STATUS
from chatserver.storage.times import micros
from chatserver.supervision import caught

if TYPE_CHECKING:
    from chatserver.storage.database import Record

SIZED_COLUMNS: Final[LiteralString] = """coalesce(octet_length(m.media_url), 0)
                + coalesce(pg_column_size(m.detail), 0) + coalesce(pg_column_size(m.reactions), 0)"""

ROW_BYTES: Final[LiteralString] = (
    """coalesce(octet_length(CASE WHEN m.kind = 'edit' THEN (
                SELECT t.message_text FROM messages t WHERE t.chat_id = m.chat_id AND t.seq = m.target_seq)
                ELSE m.message_text END), 0) + """
    + SIZED_COLUMNS
)
"""Stored bytes of the content of a row `m`; no content is read, since a value's size is in its header."""

SHOWN_BYTES: Final[LiteralString] = """coalesce(octet_length(m.message_text), 0) + """ + SIZED_COLUMNS
"""The same for a row `m` of `described`, whose text is already the visible version."""

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
        -- An edit shows its target's text of now, so that what was deleted or replaced is kept nowhere. Subqueries
        -- and no joins: the other kinds, and current members, which are nearly all there is, do not pay for them.
        CASE
            WHEN p.as_of IS NOT NULL THEN (
                SELECT v.message_text FROM message_versions v
                WHERE v.chat_id = m.chat_id AND v.until_seq = p.as_of
                    AND v.seq = CASE WHEN m.kind = 'edit' THEN m.target_seq ELSE m.seq END)
            WHEN m.kind = 'edit' THEN (
                SELECT t.message_text FROM messages t WHERE t.chat_id = m.chat_id AND t.seq = m.target_seq)
            ELSE m.message_text
        END AS message_text,
        m.message_type, m.media_url, m.reply_to, m.detail, m.created_at,
"""
    + STATUS
    + """ AS status,
        m.client_id, m.client_timestamp,
        CASE WHEN p.as_of IS NULL THEN m.edited_at ELSE (
            SELECT v.edited_at FROM message_versions v
            WHERE v.chat_id = m.chat_id AND v.seq = m.seq AND v.until_seq = p.as_of) END AS edited_at,
        m.deleted_at,
        CASE WHEN p.as_of IS NULL THEN m.reactions ELSE (
            SELECT v.reactions FROM message_versions v
            WHERE v.chat_id = m.chat_id AND v.seq = m.seq AND v.until_seq = p.as_of) END AS reactions,
        p.as_of
    FROM picked p
    JOIN messages m USING (chat_id, seq)
    JOIN users sender ON sender.user_id = m.sender_id
    LEFT JOIN marks k ON k.chat_id = m.chat_id
    LEFT JOIN direct_chats d ON d.chat_id = m.chat_id
    LEFT JOIN users other ON other.user_id = CASE WHEN d.user_lo = m.sender_id THEN d.user_hi ELSE d.user_lo END
)
"""
)
"""CTEs that turn `picked (chat_id, seq, as_of)` into `described`, whose columns `message_row` reads in this order."""

AS_OF: Final[LiteralString] = """
    CASE WHEN cm.left_seq IS NOT NULL THEN (
        SELECT min(v.until_seq) FROM message_versions v
        WHERE v.chat_id = m.chat_id AND v.seq = CASE WHEN m.kind = 'edit' THEN m.target_seq ELSE m.seq END
            AND v.until_seq > cm.left_seq) END AS as_of
"""
"""The version of a row `m` that the member `cm` sees; NULL: the current one, as always for current members."""

TARGET_SEEN: Final[LiteralString] = """
    AND (m.target_seq IS NULL OR (m.target_seq > cm.joined_seq AND NOT cm.absent @> m.target_seq))
"""
"""Excludes events about a row that the member `cm` may not see: an edit would reveal its text."""

DESCRIBED_COLUMNS: Final = 21
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
            # As in `reactions`: applying the events gives the same as a fetch.
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
        # Fast path: nearly all rows have none of these, and this runs for each row of a sync.
        client_timestamp_us=None if client_timestamp is None else micros(client_timestamp),
        edited_at_us=None if edited_at is None else micros(edited_at),
        deleted_at_us=None if deleted_at is None else micros(deleted_at),
        reactions=by_emoji,
    )


_decode_detail = msgspec.json.Decoder(dict[str, Any]).decode
_decode_reactions = msgspec.json.Decoder(dict[int, str]).decode


def _by_emoji(reactions: dict[int, str]) -> tuple[Reaction, ...]:
    """Turn {user_id: emoji} into one entry per emoji, in an order that depends only on the content."""
    users: dict[str, list[int]] = {}
    for user_id, emoji in sorted(reactions.items()):
        users.setdefault(emojis.spelled(emoji), []).append(user_id)
    return tuple(Reaction(emoji, tuple(user_ids)) for emoji, user_ids in sorted(users.items()))
