"""SQL of chats: lists, members, positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString

import msgspec

from chatserver.model import Chat, Member
from chatserver.storage.described import DESCRIBED, DESCRIBED_COLUMNS, ROW_BYTES, message_row
from chatserver.storage.groups import FIELDS, FIELDS_COLUMNS, NAME_SEEN, fields_from, fields_seen
from chatserver.storage.own_chats import SETTINGS_COLUMNS, settings_from
from chatserver.storage.times import micros, moment_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.model import ChatKind
    from chatserver.storage.database import Connection, Database, Record


class Access(msgspec.Struct, frozen=True):
    """What a user may see of a chat."""

    kind: ChatKind
    joined_seq: int
    left_seq: int | None
    last_seq: int


BARRED: Final[LiteralString] = """
barred AS MATERIALIZED (
    SELECT b.blocked_id AS user_id FROM blocks b WHERE b.blocker_id = $1
    UNION ALL SELECT b.blocker_id FROM blocks b WHERE b.blocked_id = $1
)
"""
"""CTE of the users whom the caller, $1, blocks or who block the caller."""

HIDES_READ: Final[LiteralString] = (
    "EXISTS (SELECT FROM privacy p WHERE p.user_id = $1 AND p.receipts_off_since IS NOT NULL)"
)
"""Whether the caller, $1, does not show what they have read."""

_LISTED = (
    """
WITH here AS MATERIALIZED (
    SELECT pg_current_snapshot() AS snapshot, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax
), """
    + BARRED
    + """, found AS MATERIALIZED (
    SELECT c.chat_id, c.kind, c.admins_send, cm.group_seen, cm.joined_seq, cm.absent,
        greatest(cm.read_seq, cm.own_read_seq) AS read_seq, cm.left_seq IS NOT NULL AS gone,
        cm.muted_until, cm.pinned_at, cm.archived, cm.marked_unread,
        coalesce(cm.left_seq, c.last_seq) AS last_seq, own.last_at, c.disappear_after
    FROM here CROSS JOIN chat_members cm JOIN chats c USING (chat_id)
    -- For a former member the chat ends with the row of their leaving: later activity is not shown to them.
    LEFT JOIN LATERAL (
        SELECT m.created_at, m.xact FROM messages m
        WHERE cm.left_seq IS NOT NULL AND m.chat_id = cm.chat_id AND m.seq = cm.left_seq
    ) ending ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(ending.created_at, c.last_at) AS last_at, coalesce(ending.xact, c.last_xact) AS last_xact
    ) own
    WHERE cm.user_id = $1
        AND ($2::bigint IS NULL OR c.chat_id = $2)
        -- The user's own chat is no conversation: it is only returned by id.
        AND ($2::bigint IS NOT NULL OR c.kind <> 'self')
        -- A direct chat is listed once it has a message.
        AND ($2::bigint IS NOT NULL OR c.last_seq > 0)
        AND ($3::timestamptz IS NULL OR (own.last_at, c.chat_id) < ($3, $4::bigint))
        AND ($8::text IS NULL OR NOT pg_visible_in_snapshot(own.last_xact, $8::text::pg_snapshot)
            -- xmin is the end of the transaction's id that wrote the row last, its lower 32 bits.
            OR NOT pg_visible_in_snapshot((here.xmax - ((here.xmax - cm.xmin::text::bigint) & 4294967295))::text::xid8,
                $8::text::pg_snapshot))
    ORDER BY own.last_at DESC, c.chat_id DESC LIMIT $5 + 1
), mine AS MATERIALIZED (
    -- As many as the last messages' bytes allow; the chat that passes them is the last one.
    SELECT * FROM (
        SELECT found.*, newest.seq AS newest_seq, coalesce(sum(newest.bytes) OVER (
            ORDER BY found.last_at DESC, found.chat_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
        ) AS bytes_before
        FROM found LEFT JOIN LATERAL (
            SELECT m.seq, """
    + ROW_BYTES
    + """ AS bytes FROM messages m
            WHERE m.chat_id = found.chat_id AND m.seq > found.joined_seq AND m.seq <= found.last_seq
                AND m.kind = 'message' AND NOT found.absent @> m.seq
            ORDER BY m.seq DESC LIMIT 1
        ) newest ON true
    ) f WHERE f.bytes_before < $7
    ORDER BY f.last_at DESC, f.chat_id DESC LIMIT $5
), picked AS (
    SELECT mine.chat_id, mine.newest_seq AS seq,
        CASE WHEN mine.gone THEN (
            SELECT min(v.until_seq) FROM message_versions v
            WHERE v.chat_id = mine.chat_id AND v.seq = mine.newest_seq AND v.until_seq > mine.last_seq) END AS as_of
    FROM mine WHERE mine.newest_seq IS NOT NULL
), """
    + DESCRIBED
    + """
SELECT shown.*, here.snapshot::text, chat_epoch()
-- Without any chat there is one record, of NULLs, the snapshot and the epoch.
FROM here LEFT JOIN (SELECT d.*, mine.chat_id AS listed_id, mine.kind AS listed_kind,
    -- A former member does not see later names.
    CASE WHEN mine.gone AND mine.group_seen IS NULL THEN coalesce("""
    + NAME_SEEN
    + """, g.group_name) ELSE g.group_name END,
    mine.last_seq, mine.last_at, unread.number, mine.gone, size.number,
    (SELECT count(*) FROM found) > (SELECT count(*) FROM mine),
    CASE WHEN NOT mine.gone THEN mine.disappear_after END, mine.muted_until, mine.pinned_at, mine.archived,
    mine.marked_unread, mine.group_seen, mine.admins_send, """
    + FIELDS
    + """,
    listed.user_ids, listed.usernames, listed.roles, listed.delivered, listed.read, listed.blocks,
    listed.hides
FROM mine
LEFT JOIN described d ON d.chat_id = mine.chat_id
LEFT JOIN groups g ON g.group_id = mine.chat_id
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM messages m
    WHERE m.chat_id = mine.chat_id AND m.seq > greatest(mine.read_seq, mine.joined_seq) AND m.seq <= mine.last_seq
        AND m.kind = 'message' AND m.sender_id <> $1 AND m.deleted_at IS NULL AND NOT mine.absent @> m.seq
) unread
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM chat_members cm
    WHERE cm.chat_id = mine.chat_id AND cm.left_seq IS NULL AND NOT mine.gone
) size
CROSS JOIN LATERAL (
    SELECT array_agg(t.user_id) AS user_ids, array_agg(t.username) AS usernames, array_agg(t.role) AS roles,
        array_agg(t.delivered_seq) AS delivered, array_agg(t.read_seq) AS read,
        array_agg(t.user_id IN (SELECT barred.user_id FROM barred)) AS blocks,
        array_agg(t.user_id = $1 AND """
    + HIDES_READ
    + """) AS hides
    FROM (
        SELECT chosen.user_id, u.username, chosen.role,
            CASE WHEN chosen.user_id = $1 THEN greatest(chosen.delivered_seq, chosen.own_delivered_seq)
                ELSE chosen.delivered_seq END AS delivered_seq,
            CASE WHEN chosen.user_id = $1 THEN greatest(chosen.read_seq, chosen.own_read_seq)
                ELSE chosen.read_seq END AS read_seq
        FROM (
            SELECT * FROM chat_members cm
            WHERE cm.chat_id = mine.chat_id AND cm.left_seq IS NULL AND NOT mine.gone
            -- The caller is always among them.
            ORDER BY cm.user_id <> $1, coalesce(cm.came_seq, cm.joined_seq), cm.joined_at, cm.user_id LIMIT $6
        ) chosen JOIN users u USING (user_id)
        ORDER BY coalesce(chosen.came_seq, chosen.joined_seq), chosen.joined_at, chosen.user_id
    ) t
) listed
) shown ON true
ORDER BY shown.last_at DESC, shown.listed_id DESC
"""
)


_MORE = DESCRIBED_COLUMNS + 8
"""Column with whether more chats were found than are returned."""


class ListedChats(msgspec.Struct, frozen=True):
    """A page of chats.

    Attributes:
        more: further ones were found.
        snapshot: a pg_snapshot of this very statement, as text.
        epoch: names the history of the database that transaction ids belong to.
    """

    chats: tuple[Chat, ...]
    more: bool
    snapshot: str
    epoch: str


async def listed(
    database: Database,
    user_id: int,
    *,
    most_members: int | None,
    chat_id: int | None = None,
    below: tuple[int, int] | None = None,
    since: str | None = None,
    limit: int = 1,
    most_bytes: int = 1,
) -> ListedChats:
    """Return a user's chats, the most recently active first: one, or those below (last_at_us, chat_id).

    There are up to `limit` of them, and `most_bytes` of last messages: the chat that passes them is the last one.
    With `since`, a pg_snapshot, only those with rows that it does not see, or of which the user's own row has changed:
    their watermarks, settings, or that they are a member.

    One statement for any number of chats, with their last messages and up to `most_members` members of each, the
    user among them; None: all members.
    """
    records = await database.fetch_sized(
        _LISTED,
        user_id,
        chat_id,
        None if below is None else moment_of(below[0]),
        None if below is None else below[1],
        limit,
        most_members,
        most_bytes,
        since,
    )
    snapshot, epoch = records[0][-2:]
    found = tuple(_chat(record, user_id) for record in records if record[DESCRIBED_COLUMNS] is not None)
    return ListedChats(found, bool(records[0][_MORE]), snapshot, epoch)


async def has_new_rows(database: Database, user_id: int, since: str) -> bool:
    """Return whether a chat of a user has rows that a pg_snapshot does not see."""
    record = await database.fetchrow(
        "SELECT EXISTS (SELECT FROM chat_members cm JOIN chats c USING (chat_id) WHERE cm.user_id = $1 "
        "AND c.kind <> 'self' AND c.last_seq > 0 AND NOT pg_visible_in_snapshot(coalesce(("
        "SELECT m.xact FROM messages m WHERE cm.left_seq IS NOT NULL AND m.chat_id = cm.chat_id "
        "AND m.seq = cm.left_seq), c.last_xact), $2::text::pg_snapshot))",
        user_id,
        since,
    )
    return record is not None and bool(record[0])


def _chat(record: Record, user_id: int) -> Chat:
    chat_id, kind, name, last_seq, last_at, unread, gone, member_count, _, timer, *rest = record[DESCRIBED_COLUMNS:-2]
    settings, (seen, admins_send, *fields) = rest[:SETTINGS_COLUMNS], rest[SETTINGS_COLUMNS:]
    group = None
    if kind == "group" and gone:
        group = fields_seen(seen, name)
    elif kind == "group":
        group = fields_from(name, fields[:FIELDS_COLUMNS], admins_send=admins_send)
    return Chat(
        chat_id=chat_id,
        kind=kind,
        group=group,
        last_seq=last_seq,
        last_at_us=micros(last_at),
        last_message=None if record[0] is None else message_row(record),
        unread=unread,
        left=gone,
        member_count=member_count,
        members=members_from(fields[FIELDS_COLUMNS:], user_id),
        settings=settings_from(settings),
        disappear_after=timer,
    )


def members_from(arrays: Sequence[Sequence[Any] | None], user_id: int) -> tuple[Member, ...]:
    """Make members from the arrays of their fields; NULL arrays: none.

    The last but one has for each whether they and the user are blocked from each other, the last one whether they are
    the user and hide what they have read.
    """
    return tuple(
        Member(member_id, username, role, delivered_seq, read_seq, (user_id,) if is_blocked else (), hides)
        for member_id, username, role, delivered_seq, read_seq, is_blocked, hides in zip(
            *(array or () for array in arrays), strict=True
        )
    )


# By blocker, once per chat: a look-up for each pair of 1,024 members took five seconds.
_BLOCKS_OF_ALL: Final[LiteralString] = """
    SELECT cm.chat_id, b.blocker_id, b.blocked_id FROM current cm JOIN blocks b ON b.blocker_id = cm.user_id
"""

# By viewer, of whom there are few. A hashed subplan leaves out blocks with non-members; IS TRUE keeps PostgreSQL from
# turning it into a join, which before ANALYZE is a loop over all members for each block.
_BLOCKS_OF_VIEWERS: Final[LiteralString] = """
    SELECT cm.chat_id, b.blocker_id, b.blocked_id
    FROM (
        SELECT b.blocker_id, b.blocked_id FROM blocks b
        WHERE b.blocker_id = ANY ($2::bigint[]) AND (b.blocked_id IN (SELECT cm.user_id FROM current cm)) IS TRUE
        UNION
        SELECT b.blocker_id, b.blocked_id FROM blocks b
        WHERE b.blocked_id = ANY ($2::bigint[]) AND (b.blocker_id IN (SELECT cm.user_id FROM current cm)) IS TRUE
    ) b
    JOIN current cm ON cm.user_id = b.blocker_id
"""


def _members_with(blocks: LiteralString) -> LiteralString:
    return (
        """
        WITH current AS MATERIALIZED (
            SELECT * FROM chat_members cm WHERE cm.chat_id = ANY ($1::bigint[]) AND cm.left_seq IS NULL
        ), blocking AS MATERIALIZED ("""
        + blocks
        + """), blocked AS MATERIALIZED (
            SELECT b.chat_id, b.blocker_id AS user_id, array_agg(b.blocked_id) AS user_ids
            FROM blocking b JOIN current other ON other.chat_id = b.chat_id AND other.user_id = b.blocked_id
            GROUP BY b.chat_id, b.blocker_id
        )
        SELECT cm.chat_id, cm.user_id, u.username, cm.role, cm.delivered_seq, cm.read_seq, b.user_ids,
            p.receipts_off_since IS NOT NULL
        FROM current cm JOIN users u USING (user_id) LEFT JOIN blocked b USING (chat_id, user_id)
        LEFT JOIN privacy p USING (user_id)
        ORDER BY cm.chat_id, coalesce(cm.came_seq, cm.joined_seq), cm.joined_at, cm.user_id
        """
    )


async def members_of(
    connection: Connection, chat_ids: Sequence[int], viewer_ids: Sequence[int] | None = None
) -> dict[int, tuple[Member, ...]]:
    """Return {chat_id: its current members, the earliest to join first} of the chats that have any.

    Args:
        connection: where to read.
        chat_ids: the chats.
        viewer_ids: who sees the members; only blocks of these are looked up. None: blocks of all members.
    """
    records = await (
        connection.fetch(_members_with(_BLOCKS_OF_ALL), list(chat_ids))
        if viewer_ids is None
        else connection.fetch(_members_with(_BLOCKS_OF_VIEWERS), list(chat_ids), list(viewer_ids))
    )
    members: dict[int, list[Member]] = {}
    for chat_id, user_id, username, role, delivered_seq, read_seq, blocks, hides in records:
        member = Member(user_id, username, role, delivered_seq, read_seq, tuple(blocks or ()), hides)
        members.setdefault(chat_id, []).append(member)
    return {chat_id: tuple(found) for chat_id, found in members.items()}


async def access(database: Database, user_id: int, chat_id: int) -> Access | None:
    """Return what the user may see of a chat; None: nothing."""
    record = await database.fetchrow(
        "SELECT c.kind, cm.joined_seq, cm.left_seq, c.last_seq FROM chat_members cm JOIN chats c USING (chat_id) "
        "WHERE cm.chat_id = $2 AND cm.user_id = $1",
        user_id,
        chat_id,
    )
    return None if record is None else Access(*record)
