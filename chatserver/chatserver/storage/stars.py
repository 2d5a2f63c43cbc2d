"""SQL of starred messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.calls import affected
from chatserver.storage.described import ROW_BYTES
from chatserver.storage.times import micros, moment_of

if TYPE_CHECKING:
    from chatserver.storage.database import Connection, Database


class StarPlace(msgspec.Struct, frozen=True):
    """A starred message, and a position in the list of them."""

    starred_at_us: int
    chat_id: int
    seq: int


async def add(connection: Connection, user_id: int, chat_id: int, seq: int) -> bool:
    """Store a star; returns whether it is new."""
    tag = await connection.execute(
        "INSERT INTO stars (chat_id, user_id, seq) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", chat_id, user_id, seq
    )
    return affected(tag) > 0


async def remove(connection: Connection, user_id: int, chat_id: int, seq: int) -> bool:
    """Remove a star; returns whether there was one."""
    tag = await connection.execute(
        "DELETE FROM stars WHERE chat_id = $1 AND user_id = $2 AND seq = $3", chat_id, user_id, seq
    )
    return affected(tag) > 0


_LISTED = (
    """
WITH found AS MATERIALIZED (
    SELECT s.starred_at, s.chat_id, s.seq, """
    + ROW_BYTES
    + """ AS bytes
    FROM stars s
    JOIN chat_members cm ON cm.chat_id = s.chat_id AND cm.user_id = s.user_id
    JOIN messages m ON m.chat_id = s.chat_id AND m.seq = s.seq
    WHERE s.user_id = $1
        AND ($2::timestamptz IS NULL OR (s.starred_at, s.chat_id, s.seq) < ($2, $3::bigint, $4::bigint))
        AND m.seq > cm.joined_seq AND (cm.left_seq IS NULL OR m.seq <= cm.left_seq) AND NOT cm.absent @> m.seq
        AND m.deleted_at IS NULL
    ORDER BY s.starred_at DESC, s.chat_id DESC, s.seq DESC LIMIT $5 + 1
)
SELECT f.starred_at, f.chat_id, f.seq, (SELECT count(*) FROM found) FROM (
    SELECT found.*, sum(bytes) OVER sofar - bytes AS bytes_before
    FROM found WINDOW sofar AS (ORDER BY starred_at DESC, chat_id DESC, seq DESC ROWS UNBOUNDED PRECEDING)
) f WHERE f.bytes_before < $6
ORDER BY f.starred_at DESC, f.chat_id DESC, f.seq DESC LIMIT $5
"""
)


async def listed(
    database: Database, user_id: int, *, below: StarPlace | None, limit: int, most_bytes: int
) -> tuple[list[StarPlace], bool]:
    """Return the messages that a user has starred and may see, the newest star first, and whether there are more.

    Up to `limit` of them, and `most_bytes` of their content: the message that exceeds them is the last one.
    """
    records = await database.fetch(
        _LISTED,
        user_id,
        None if below is None else moment_of(below.starred_at_us),
        None if below is None else below.chat_id,
        None if below is None else below.seq,
        limit,
        most_bytes,
    )
    places = [StarPlace(micros(record[0]), record[1], record[2]) for record in records]
    return places, bool(records) and records[0][3] > len(records)


async def forget(database: Database, user_id: int) -> None:
    """Remove all stars of a user."""
    await database.execute("DELETE FROM stars WHERE user_id = $1", user_id)
