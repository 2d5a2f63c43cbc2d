"""SQL of the relations between users, their common chats and blocks; the input of `chatserver.visibility`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString

from chatserver.visibility import Privacy, Relation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chatserver.storage.database import Database, Record

Pair = tuple[int, int]
"""Ids of a viewer and of a user."""

RELATED: Final[LiteralString] = """
pairs AS MATERIALIZED (
    SELECT DISTINCT a.viewer_id, a.user_id FROM unnest($1::bigint[], $2::bigint[]) AS a (viewer_id, user_id)
), viewers AS MATERIALIZED (
    SELECT cm.user_id AS viewer_id, cm.chat_id, coalesce(cm.came_seq, cm.joined_seq) AS came_seq, cm.left_seq
    FROM chat_members cm
    WHERE cm.user_id IN (SELECT a.viewer_id FROM pairs a)
), met AS MATERIALIZED (
    -- Each side's chats are read once, whatever the number of pairs.
    SELECT a.viewer_id, a.user_id, bool_or(v.left_seq IS NULL AND cm.left_seq IS NULL) AS shares_chat
    FROM pairs a
    JOIN chat_members cm ON cm.user_id = a.user_id
    JOIN viewers v ON v.viewer_id = a.viewer_id AND v.chat_id = cm.chat_id
        -- Who left before the other came never met them there.
        AND (v.left_seq IS NULL OR coalesce(cm.came_seq, cm.joined_seq) < v.left_seq)
        AND (cm.left_seq IS NULL OR v.came_seq < cm.left_seq)
    GROUP BY a.viewer_id, a.user_id
), related AS (
    SELECT a.viewer_id, a.user_id, a.viewer_id = a.user_id AS is_self, coalesce(met.shares_chat, false) AS shares_chat,
        met.viewer_id IS NOT NULL AS former,
        EXISTS (SELECT FROM blocks b WHERE b.blocker_id = a.viewer_id AND b.blocked_id = a.user_id) AS blocks,
        EXISTS (SELECT FROM blocks b WHERE b.blocker_id = a.user_id AND b.blocked_id = a.viewer_id) AS is_blocked,
        -- Few users have a setting that depends on it.
        'contacts' IN (p.last_seen, p.picture, p.about) AND EXISTS (
            SELECT FROM direct_chats d JOIN messages m USING (chat_id)
            WHERE d.user_lo = least(a.viewer_id, a.user_id) AND d.user_hi = greatest(a.viewer_id, a.user_id)
                AND m.sender_id = a.user_id AND m.kind = 'message') AS is_contact,
        p.last_seen, p.picture, p.about
    FROM pairs a LEFT JOIN met USING (viewer_id, user_id) LEFT JOIN privacy p ON p.user_id = a.user_id
)
"""
"""CTEs that turn ids of viewers in $1 and of users in $2 into `related`: a pair and `RELATION_COLUMNS`."""

RELATION_COLUMNS: Final[LiteralString] = (
    "related.is_self, related.shares_chat, related.former, related.blocks, related.is_blocked, related.is_contact, "
    "related.last_seen, related.picture, related.about"
)


def relation_from(record: Record) -> Relation:
    """Make a relation from a record that ends with `RELATION_COLUMNS`."""
    is_self, shares_chat, former, blocks, is_blocked, is_contact, last_seen, picture, about = record[-9:]
    return Relation(
        is_self=is_self,
        shares_chat=shares_chat,
        former=former,
        blocks=blocks,
        is_blocked=is_blocked,
        is_contact=bool(is_contact),
        # A user who has changed nothing has no settings.
        privacy=Privacy() if last_seen is None else Privacy(last_seen, picture, about),
    )


async def relations(database: Database, pairs: Collection[Pair]) -> Mapping[Pair, Relation]:
    """Return {(viewer, user): the viewer's relation to the user}, by one statement for any number of pairs.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    if not pairs:
        return {}
    records = await database.fetch(
        f"WITH {RELATED} SELECT related.viewer_id, related.user_id, {RELATION_COLUMNS} FROM related",
        [viewer_id for viewer_id, _ in pairs],
        [user_id for _, user_id in pairs],
    )
    return {(record[0], record[1]): relation_from(record) for record in records}
