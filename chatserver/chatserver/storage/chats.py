"""SQL of chats: lists, members, positions, what a client missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.model import Member, MessageRow
from chatserver.storage.database import micros, moment_of
from chatserver.storage.messages import DESCRIBED, TARGET_SEEN, message_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chatserver.model import ChatKind
    from chatserver.storage.database import Connection, Database


class ChatSummary(msgspec.Struct, frozen=True):
    """A chat of a user without its members and its last message's row.

    Attributes:
        last_message_seq: newest row of kind `message` that the user may see.
    """

    chat_id: int
    kind: ChatKind
    group_name: str | None
    last_seq: int
    last_at_us: int
    unread: int
    left: bool
    last_message_seq: int | None


class Access(msgspec.Struct, frozen=True):
    """What a user may see of a chat."""

    kind: ChatKind
    joined_seq: int
    left_seq: int | None
    last_seq: int


_SUMMARIES = """
WITH mine AS MATERIALIZED (
    SELECT c.chat_id, c.kind, cm.joined_seq, cm.read_seq, cm.absent, cm.left_seq IS NOT NULL AS gone,
        coalesce(cm.left_seq, c.last_seq) AS last_seq, c.last_at
    FROM chat_members cm JOIN chats c USING (chat_id)
    WHERE cm.user_id = $1
        AND ($2::bigint IS NULL OR c.chat_id = $2)
        -- The user's own chat is no conversation: who asks for it by id gets it.
        AND ($2::bigint IS NOT NULL OR c.kind <> 'self')
        -- A direct chat is listed once something was said.
        AND ($2::bigint IS NOT NULL OR c.last_seq > 0)
        AND ($3::timestamptz IS NULL OR (c.last_at, c.chat_id) < ($3, $4::bigint))
    ORDER BY c.last_at DESC, c.chat_id DESC LIMIT $5
)
SELECT mine.chat_id, mine.kind, g.group_name, mine.last_seq, mine.last_at, unread.number, mine.gone, newest.seq
FROM mine
LEFT JOIN groups g ON g.group_id = mine.chat_id
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM messages m
    WHERE m.chat_id = mine.chat_id AND m.seq > greatest(mine.read_seq, mine.joined_seq) AND m.seq <= mine.last_seq
        AND m.kind = 'message' AND m.sender_id <> $1 AND m.deleted_at IS NULL AND NOT mine.absent @> m.seq
) unread
LEFT JOIN LATERAL (
    SELECT m.seq FROM messages m
    WHERE m.chat_id = mine.chat_id AND m.seq > mine.joined_seq AND m.seq <= mine.last_seq
        AND m.kind = 'message' AND NOT mine.absent @> m.seq
    ORDER BY m.seq DESC LIMIT 1
) newest ON true
ORDER BY mine.last_at DESC, mine.chat_id DESC
"""


async def summaries(
    database: Database,
    user_id: int,
    *,
    chat_id: int | None = None,
    below: tuple[int, int] | None = None,
    limit: int = 1,
) -> list[ChatSummary]:
    """Return a user's chats, the most recently active first: one, or those below (last_at_us, chat_id)."""
    records = await database.fetch(
        _SUMMARIES,
        user_id,
        chat_id,
        None if below is None else moment_of(below[0]),
        None if below is None else below[1],
        limit,
    )
    return [
        ChatSummary(
            chat_id=row[0],
            kind=row[1],
            group_name=row[2],
            last_seq=row[3],
            last_at_us=micros(row[4]),
            unread=row[5],
            left=row[6],
            last_message_seq=row[7],
        )
        for row in records
    ]


async def members_of(connection: Connection, chat_ids: Sequence[int]) -> dict[int, tuple[Member, ...]]:
    """Return {chat_id: its current members, the longest-standing first} of the chats that have any."""
    records = await connection.fetch(
        "SELECT cm.chat_id, cm.user_id, u.username, cm.role, cm.delivered_seq, cm.read_seq "
        "FROM chat_members cm JOIN users u USING (user_id) "
        "WHERE cm.chat_id = ANY ($1::bigint[]) AND cm.left_seq IS NULL "
        "ORDER BY cm.chat_id, cm.joined_seq, cm.joined_at, cm.user_id",
        list(chat_ids),
    )
    members: dict[int, list[Member]] = {}
    for chat_id, *fields in records:
        members.setdefault(chat_id, []).append(Member(*fields))
    return {chat_id: tuple(found) for chat_id, found in members.items()}


async def member_counts(connection: Connection, chat_ids: Sequence[int]) -> dict[int, int]:
    """Return {chat_id: number of its current members} of the chats that have any."""
    records = await connection.fetch(
        "SELECT chat_id, count(*) FROM chat_members "
        "WHERE chat_id = ANY ($1::bigint[]) AND left_seq IS NULL GROUP BY chat_id",
        list(chat_ids),
    )
    return {record[0]: record[1] for record in records}


async def access(database: Database, user_id: int, chat_id: int) -> Access | None:
    """Return what the user may see of a chat; None: nothing."""
    record = await database.fetchrow(
        "SELECT c.kind, cm.joined_seq, cm.left_seq, c.last_seq FROM chat_members cm JOIN chats c USING (chat_id) "
        "WHERE cm.chat_id = $2 AND cm.user_id = $1",
        user_id,
        chat_id,
    )
    return None if record is None else Access(*record)


async def positions(database: Database, user_ids: Sequence[int]) -> dict[int, dict[int, int]]:
    """Return {user_id: {chat_id: the last seq the user may see}}."""
    records = await database.fetch(
        "SELECT cm.user_id, cm.chat_id, coalesce(cm.left_seq, c.last_seq) "
        "FROM chat_members cm JOIN chats c USING (chat_id) WHERE cm.user_id = ANY ($1::bigint[])",
        list(user_ids),
    )
    found: dict[int, dict[int, int]] = {user_id: {} for user_id in user_ids}
    for user_id, chat_id, last_seq in records:
        found[user_id][chat_id] = last_seq
    return found


async def last_seqs(database: Database, chat_ids: Sequence[int]) -> dict[int, int]:
    """Return {chat_id: last_seq}."""
    records = await database.fetch(
        "SELECT chat_id, last_seq FROM chats WHERE chat_id = ANY ($1::bigint[])", list(chat_ids)
    )
    return {record[0]: record[1] for record in records}


_MISSED = (
    """
WITH mine AS MATERIALIZED (
    SELECT cm.chat_id, cm.left_seq, cm.joined_seq, cm.absent, c.last_at, coalesce(cm.left_seq, c.last_seq) AS last_seq,
        greatest(cm.joined_seq, coalesce(h.have_seq, 0)) AS have_seq
    FROM chat_members cm
    JOIN chats c USING (chat_id)
    LEFT JOIN unnest($2::bigint[], $3::bigint[]) AS h (chat_id, have_seq) ON h.chat_id = cm.chat_id
    WHERE cm.user_id = $1
), picked AS MATERIALIZED (
    SELECT m.chat_id, m.seq, cm.last_at
    FROM mine cm CROSS JOIN LATERAL (
        SELECT m.chat_id, m.seq FROM messages m
        WHERE m.chat_id = cm.chat_id AND m.seq > cm.have_seq AND m.seq <= cm.last_seq
            AND NOT cm.absent @> m.seq
            """
    + TARGET_SEEN
    + """
        ORDER BY m.seq LIMIT $4
    ) m
    WHERE cm.last_seq > cm.have_seq
    ORDER BY cm.last_at DESC, m.chat_id, m.seq LIMIT $4
), """
    + DESCRIBED
    + """
SELECT d.* FROM described d JOIN picked p USING (chat_id, seq) ORDER BY p.last_at DESC, d.chat_id, d.seq
"""
)


async def missed_rows(database: Database, user_id: int, have: Mapping[int, int], limit: int) -> list[MessageRow]:
    """Return rows above the client's have_seq, chat by chat (the most recently active first), `limit` in all."""
    records = await database.fetch(_MISSED, user_id, list(have.keys()), list(have.values()), limit)
    return [message_row(record) for record in records]


async def recent_positions(database: Database, user_id: int, limit: int) -> list[tuple[int, int, bool]]:
    """Return (chat_id, last visible seq, left) of the user's most recently active chats that hold anything."""
    records = await database.fetch(
        "SELECT cm.chat_id, coalesce(cm.left_seq, c.last_seq), cm.left_seq IS NOT NULL "
        "FROM chat_members cm JOIN chats c USING (chat_id) WHERE cm.user_id = $1 AND c.last_seq > 0 "
        "ORDER BY c.last_at DESC, c.chat_id LIMIT $2",
        user_id,
        limit,
    )
    return [(record[0], record[1], record[2]) for record in records]
