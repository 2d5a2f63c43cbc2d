"""SQL of the retention: the search for chats with messages that are older."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.storage.database import Database
    from chatserver.storage.expiries import Range

# One look at the primary key for each chat: rows rise in time, so that the first one that no pass has met decides.
_STEP = """
WITH walk AS MATERIALIZED (
    SELECT w.is_over OR w.seconds IS DISTINCT FROM $1::integer AS begins,
        CASE WHEN w.is_over OR w.seconds IS DISTINCT FROM $1 THEN 0 ELSE w.after_chat_id END AS after_chat_id
    FROM retention_walk w
    WHERE NOT w.is_over OR w.seconds IS DISTINCT FROM $1 OR w.began_at < now() - make_interval(secs => $3)
    FOR UPDATE SKIP LOCKED
), met AS MATERIALIZED (
    SELECT c.chat_id, c.kind FROM walk w CROSS JOIN LATERAL (
        SELECT c.chat_id, c.kind FROM chats c WHERE c.chat_id > w.after_chat_id ORDER BY c.chat_id LIMIT $2) c
), added AS (
    INSERT INTO expiries (chat_id, from_seq, user_id, done_seq, announced_seq, due_at)
    SELECT m.chat_id, 1, member.user_id, 0, 0, now()
    FROM met m
    LEFT JOIN expiries e ON e.chat_id = m.chat_id AND e.from_seq = 1
    CROSS JOIN LATERAL (
        SELECT o.created_at FROM messages o WHERE o.chat_id = m.chat_id AND o.seq > coalesce(e.done_seq, 0)
        ORDER BY o.seq LIMIT 1) oldest
    CROSS JOIN LATERAL (
        SELECT cm.user_id FROM chat_members cm WHERE cm.chat_id = m.chat_id ORDER BY cm.user_id LIMIT 1) member
    -- Own chats have no messages.
    WHERE m.kind <> 'self' AND e.due_at IS NULL AND oldest.created_at <= now() - make_interval(secs => $1)
    ON CONFLICT (chat_id, from_seq) DO UPDATE SET due_at = excluded.due_at
)
UPDATE retention_walk SET seconds = $1,
    began_at = CASE WHEN walk.begins THEN now() ELSE began_at END,
    after_chat_id = coalesce((SELECT max(met.chat_id) FROM met), walk.after_chat_id),
    is_over = (SELECT count(*) FROM met) < $2
FROM walk
RETURNING is_over
"""


async def step(database: Database, *, seconds: int, most_chats: int, period_seconds: float) -> bool:
    """Let the ranges of some chats be due whose oldest row is older than the retention; returns whether to continue.

    The servers walk through all chats together, one at a time.

    Args:
        database: where the chats are.
        seconds: the retention.
        most_chats: chats that are looked at.
        period_seconds: from the beginning of a walk to that of the next one.
    """
    record = await database.fetchrow(_STEP, seconds, most_chats, period_seconds)
    return record is not None and not record[0]


async def remember_sends(database: Database, place: Range) -> None:
    """Have sends of a chat look for their client_ids among those of messages that have gone."""
    await database.execute(
        "UPDATE chats SET has_expiries = true WHERE chat_id = $1 AND NOT has_expiries", place.chat_id
    )
