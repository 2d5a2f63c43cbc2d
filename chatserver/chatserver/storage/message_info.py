"""SQL of message info: when the members of a chat received and read one message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.times import micros_or_none

if TYPE_CHECKING:
    from chatserver.storage.database import Database

_TIMES = """
WITH place AS MATERIALIZED (
    SELECT cm.chat_id, cm.left_seq IS NOT NULL AS gone, m.seq, m.sender_id
    FROM chat_members cm
    LEFT JOIN messages m ON m.chat_id = cm.chat_id AND m.seq = $3 AND m.kind = 'message'
        AND m.seq > cm.joined_seq AND (cm.left_seq IS NULL OR m.seq <= cm.left_seq) AND NOT cm.absent @> m.seq
    WHERE cm.chat_id = $2 AND cm.user_id = $1
)
SELECT p.gone, p.sender_id, member.user_id, member.delivered_at, member.read_at
FROM place p
-- Who may see a row are the members of when it was written. A watermark's first entry of the log that reaches the row
-- says when.
LEFT JOIN LATERAL (
    SELECT cm.user_id, (
        SELECT r.at FROM receipts r
        WHERE r.chat_id = p.chat_id AND r.user_id = cm.user_id AND r.kind = 'delivered' AND r.up_to_seq >= p.seq
        ORDER BY r.up_to_seq LIMIT 1) AS delivered_at, (
        SELECT r.at FROM receipts r
        WHERE r.chat_id = p.chat_id AND r.user_id = cm.user_id AND r.kind = 'read' AND r.up_to_seq >= p.seq
        ORDER BY r.up_to_seq LIMIT 1) AS read_at
    FROM chat_members cm
    WHERE p.sender_id = $1 AND NOT p.gone AND cm.chat_id = p.chat_id AND cm.user_id <> $1
        AND coalesce(cm.came_seq, cm.joined_seq) < p.seq AND (cm.left_seq IS NULL OR cm.left_seq >= p.seq)
        AND NOT cm.while_left @> p.seq
) member ON true
ORDER BY member.user_id
"""


class MemberTimes(msgspec.Struct, frozen=True):
    """When a member received and read a message; None: not yet, or not the viewer's to see."""

    user_id: int
    delivered_at_us: int | None = None
    read_at_us: int | None = None


class InfoFound(msgspec.Struct, frozen=True):
    """A message as its reader finds it.

    Attributes:
        gone: the caller is a former member.
        sender_id: None: the caller may see no such message.
        members: who may see it beside the caller, by id; empty unless the caller has sent it and is still a member.
    """

    gone: bool
    sender_id: int | None
    members: tuple[MemberTimes, ...]


async def times(database: Database, user_id: int, chat_id: int, seq: int) -> InfoFound | None:
    """Return who received and read a message of the caller, and when; None: the caller was never in the chat."""
    records = await database.fetch(_TIMES, user_id, chat_id, seq)
    if not records:
        return None
    members = (
        MemberTimes(record[2], micros_or_none(record[3]), micros_or_none(record[4]))
        for record in records
        if record[2] is not None
    )
    return InfoFound(gone=records[0][0], sender_id=records[0][1], members=tuple(members))
