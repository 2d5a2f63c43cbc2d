"""SQL of syncs: the state of a user's chats, and the rows that a client does not have yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.model import MessageRow, SyncedChat
from chatserver.storage.calls import CallTimes
from chatserver.storage.chats import BARRED, HIDES_READ, members_from
from chatserver.storage.described import AS_OF, DESCRIBED, DESCRIBED_COLUMNS, ROW_BYTES, TARGET_SEEN, message_row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from chatserver.storage.database import Connection, Database


class Stand(msgspec.Struct, frozen=True):
    """The state of a chat for one of its users.

    Attributes:
        last_seq: the newest row that this user may see (a former member: the row of their leaving).
        joined_seq: the user sees only rows after it.
        gone: whether this user is a former member.
        size: number of current members.
    """

    chat_id: int
    last_seq: int
    joined_seq: int
    gone: bool
    size: int


_STANDS = (
    """
WITH """
    + BARRED
    + """, mine AS MATERIALIZED (
    SELECT cm.chat_id, coalesce(cm.left_seq, c.last_seq) AS last_seq, cm.left_seq IS NOT NULL AS gone,
        row_number() OVER (ORDER BY c.last_at DESC, c.chat_id) AS place
    FROM chat_members cm JOIN chats c USING (chat_id)
    WHERE cm.user_id = $1 AND c.last_seq > 0
    ORDER BY c.last_at DESC, c.chat_id LIMIT $2
), listed AS MATERIALIZED (
    -- The smallest chats first, as many as fit.
    SELECT counted.chat_id
    FROM (
        SELECT sized.chat_id, sum(sized.size) OVER (ORDER BY sized.size, sized.place ROWS UNBOUNDED PRECEDING) AS total
        FROM (
            SELECT mine.chat_id, mine.place, (
                SELECT count(*) FROM chat_members cm WHERE cm.chat_id = mine.chat_id AND cm.left_seq IS NULL) AS size
            FROM mine WHERE NOT mine.gone
        ) sized
    ) counted
    WHERE counted.total <= $3
)
SELECT mine.chat_id, mine.last_seq, mine.gone OR listed.chat_id IS NOT NULL,
    members.user_ids, members.usernames, members.roles, members.delivered, members.read, members.blocks,
    members.hides
FROM mine
LEFT JOIN listed ON listed.chat_id = mine.chat_id
CROSS JOIN LATERAL (
    SELECT array_agg(t.user_id) AS user_ids, array_agg(t.username) AS usernames, array_agg(t.role) AS roles,
        array_agg(t.delivered_seq) AS delivered, array_agg(t.read_seq) AS read,
        array_agg(t.user_id IN (SELECT barred.user_id FROM barred)) AS blocks,
        array_agg(t.user_id = $1 AND """
    + HIDES_READ
    + """) AS hides
    FROM (
        SELECT cm.*, u.username FROM chat_members cm JOIN users u USING (user_id)
        WHERE cm.chat_id = listed.chat_id AND cm.left_seq IS NULL
        ORDER BY coalesce(cm.came_seq, cm.joined_seq), cm.joined_at, cm.user_id
    ) t
) members
ORDER BY mine.place
"""
)


async def stands(database: Database, user_id: int, *, most_chats: int, most_members: int) -> list[SyncedChat]:
    """Return the state of the user's most recently active chats that have rows, with their members.

    Args:
        database: where to read.
        user_id: whose chats.
        most_chats: chats at most.
        most_members: members in all; the largest chats, beyond this number, are returned without members.
    """
    records = await database.fetch_sized(_STANDS, user_id, most_chats, most_members, call=CallTimes("sync"))
    return [SyncedChat(row[0], row[1], members_from(row[3:], user_id) if row[2] else None) for row in records]


_STANDS_OF_MANY = """
SELECT requested.user_id, mine.chat_id, mine.last_seq, mine.joined_seq, mine.gone, (
    SELECT count(*) FROM chat_members cm WHERE cm.chat_id = mine.chat_id AND cm.left_seq IS NULL)
FROM unnest($1::bigint[]) AS requested (user_id)
CROSS JOIN LATERAL (
    SELECT cm.chat_id, coalesce(cm.left_seq, c.last_seq) AS last_seq, cm.joined_seq, cm.left_seq IS NOT NULL AS gone,
        c.last_at
    FROM chat_members cm JOIN chats c USING (chat_id)
    WHERE cm.user_id = requested.user_id AND c.last_seq > 0
    ORDER BY c.last_at DESC, c.chat_id LIMIT $2
) mine
ORDER BY requested.user_id, mine.last_at DESC, mine.chat_id
"""


async def stands_of_many(connection: Connection, user_ids: Sequence[int], *, most_chats: int) -> dict[int, list[Stand]]:
    """Return {user_id: the states of their most recently active chats that have rows} of users with any."""
    found: dict[int, list[Stand]] = {}
    for user_id, *stand in await connection.fetch(_STANDS_OF_MANY, list(user_ids), most_chats):
        found.setdefault(user_id, []).append(Stand(*stand))
    return found


# The sorted chats are the outer side of a nested loop, so that rows are found in the order of the result, and chats
# behind the last row are never read. The size of a row is known without reading its content.
_MISSED = (
    """
WITH found AS MATERIALIZED (
    SELECT cm.last_at, cm.chat_id, m.seq, m.bytes, m.as_of
    FROM (
        SELECT cm.chat_id, cm.joined_seq, cm.left_seq, cm.absent, c.last_at,
            coalesce(cm.left_seq, c.last_seq) AS last_seq, greatest(cm.joined_seq, coalesce(h.have_seq, 0)) AS have_seq
        FROM chat_members cm
        JOIN chats c USING (chat_id)
        LEFT JOIN unnest($2::bigint[], $3::bigint[]) AS h (chat_id, have_seq) ON h.chat_id = cm.chat_id
        WHERE cm.user_id = $1
            AND coalesce(cm.left_seq, c.last_seq) > greatest(cm.joined_seq, coalesce(h.have_seq, 0))
        ORDER BY c.last_at DESC, cm.chat_id
    ) cm CROSS JOIN LATERAL (
        SELECT m.seq, """
    + ROW_BYTES
    + """ AS bytes, """
    + AS_OF
    + """
        FROM messages m
        WHERE m.chat_id = cm.chat_id AND m.seq > cm.have_seq AND m.seq <= cm.last_seq
            AND NOT cm.absent @> m.seq
            """
    + TARGET_SEEN
    + """
        ORDER BY m.seq LIMIT $4 + 1
    ) m
    ORDER BY cm.last_at DESC, cm.chat_id, m.seq LIMIT $4 + 1
), picked AS MATERIALIZED (
    SELECT f.last_at, f.chat_id, f.seq, f.as_of
    FROM (
        SELECT found.*, row_number() OVER sofar AS place, sum(found.bytes) OVER sofar - found.bytes AS bytes_before
        FROM found WINDOW sofar AS (ORDER BY last_at DESC, chat_id, seq ROWS UNBOUNDED PRECEDING)
    ) f
    WHERE f.place <= $4 AND f.bytes_before < $5
), """
    + DESCRIBED
    + """
SELECT d.*, (SELECT count(*) FROM found) > (SELECT count(*) FROM picked)
FROM described d JOIN picked p USING (chat_id, seq) ORDER BY p.last_at DESC, d.chat_id, d.seq
"""
)


async def missed_rows(
    database: Database, user_id: int, have: Mapping[int, int], *, most_rows: int, most_bytes: int
) -> tuple[list[MessageRow], bool]:
    """Return rows above the client's have_seq, by chat (the most recently active first), and whether there are more.

    Args:
        database: where to read.
        user_id: who syncs.
        have: {chat_id: have_seq}; chats that are not in it are read from their beginning.
        most_rows: rows at most.
        most_bytes: bytes of texts; the row that exceeds it is the last one.
    """
    records = await database.fetch_sized(
        _MISSED,
        user_id,
        list(have.keys()),
        list(have.values()),
        most_rows,
        most_bytes,
        call=CallTimes("sync"),
    )
    return [message_row(record) for record in records], bool(records and records[0][DESCRIBED_COLUMNS])


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


async def joined(database: Database, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return {(user_id, chat_id): (joined_seq, the chat's last seq)} of members, current or former."""
    records = await database.fetch(
        "SELECT cm.user_id, cm.chat_id, cm.joined_seq, c.last_seq "
        "FROM unnest($1::bigint[], $2::bigint[]) AS p (user_id, chat_id) "
        "JOIN chat_members cm ON cm.chat_id = p.chat_id AND cm.user_id = p.user_id "
        "JOIN chats c ON c.chat_id = p.chat_id",
        [user_id for user_id, _ in places],
        [chat_id for _, chat_id in places],
    )
    return {(record[0], record[1]): (record[2], record[3]) for record in records}
