"""SQL of receipts: raises the watermarks of many users in many chats with one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.hints import Hint
from chatserver.model import MemberWatermarks
from chatserver.storage.calls import CallTimes
from chatserver.storage.replicated import confirm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.storage.database import Database, Record


class WatermarkRaise(msgspec.Struct, frozen=True):
    """The watermarks that one user reports for one chat."""

    user_id: int
    chat_id: int
    delivered_seq: int
    read_seq: int


_RAISE = """
WITH requested AS (
    SELECT user_id, chat_id, max(delivered) AS delivered, max(read) AS read
    FROM unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) AS a (user_id, chat_id, delivered, read)
    GROUP BY user_id, chat_id
), locked AS MATERIALIZED (
    -- In order, so that two batches with common members never deadlock.
    SELECT cm.chat_id, cm.user_id, greatest(cm.delivered_seq, cm.own_delivered_seq) AS delivered_seq,
        greatest(cm.read_seq, cm.own_read_seq) AS read_seq, a.delivered, a.read,
        -- What a former member may still see ends with the row of their leaving.
        coalesce(cm.left_seq, c.last_seq) AS last_seq,
        -- Few users have blocked anybody, so that the chat is rarely read.
        CASE WHEN EXISTS (SELECT FROM blocks b WHERE b.blocker_id = cm.user_id)
            OR EXISTS (SELECT FROM blocks b WHERE b.blocked_id = cm.user_id)
        THEN EXISTS (
            SELECT FROM direct_chats d JOIN blocks b
            ON (b.blocker_id, b.blocked_id) IN ((d.user_lo, d.user_hi), (d.user_hi, d.user_lo))
            WHERE d.chat_id = cm.chat_id)
        ELSE false END AS is_blocked,
        EXISTS (
            SELECT FROM privacy p WHERE p.user_id = cm.user_id AND p.receipts_off_since IS NOT NULL) AS hides_read
    FROM requested a
    JOIN chat_members cm ON cm.chat_id = a.chat_id AND cm.user_id = a.user_id
    JOIN chats c ON c.chat_id = a.chat_id
    WHERE greatest(cm.read_seq, cm.own_read_seq) < least(a.read, coalesce(cm.left_seq, c.last_seq))
        OR greatest(cm.delivered_seq, cm.own_delivered_seq)
            < least(greatest(a.delivered, a.read), coalesce(cm.left_seq, c.last_seq))
    ORDER BY cm.chat_id, cm.user_id FOR NO KEY UPDATE OF cm
), raised AS (
    SELECT chat_id, user_id, is_blocked, hides_read, delivered_seq AS was_delivered, read_seq AS was_read,
        greatest(delivered_seq, least(greatest(delivered, read), last_seq)) AS delivered_seq,
        greatest(read_seq, least(read, last_seq)) AS read_seq
    FROM locked
), changed AS (
    -- Across a block the other user keeps seeing the watermarks from before it; and what a user who hides what they
    -- have read had read before, all others.
    UPDATE chat_members cm SET
        delivered_seq = CASE WHEN w.is_blocked THEN cm.delivered_seq ELSE w.delivered_seq END,
        read_seq = CASE WHEN w.is_blocked OR w.hides_read THEN cm.read_seq ELSE w.read_seq END,
        own_delivered_seq = CASE WHEN w.is_blocked THEN w.delivered_seq END,
        own_read_seq = CASE WHEN w.is_blocked OR w.hides_read THEN w.read_seq END
    FROM raised w
    WHERE cm.chat_id = w.chat_id AND cm.user_id = w.user_id
        AND (w.delivered_seq > w.was_delivered OR w.read_seq > w.was_read)
    RETURNING w.*, cm.read_seq AS shown_read
), logged AS (
    INSERT INTO receipts (chat_id, user_id, kind, up_to_seq)
    SELECT chat_id, user_id, 'delivered', delivered_seq FROM changed
    WHERE delivered_seq > was_delivered AND NOT is_blocked
    UNION ALL
    SELECT chat_id, user_id, 'read', read_seq FROM changed
    WHERE read_seq > was_read AND NOT is_blocked AND NOT hides_read
    ON CONFLICT DO NOTHING
), hinted AS (
    -- That somebody reads is no news for others if they may not know of it.
    SELECT leave_hint($2, $3, $4, json_build_object('o', $1::text,
        'receipts', coalesce(
            json_agg(json_build_array(ch.chat_id, ch.user_id, ch.delivered_seq, CASE
                WHEN ch.hides_read THEN ch.shown_read ELSE ch.read_seq END))
            FILTER (WHERE NOT ch.hides_read OR ch.delivered_seq > ch.was_delivered), '[]'),
        'own_receipts', coalesce(
            json_agg(json_build_array(ch.chat_id, ch.user_id, ch.delivered_seq, ch.read_seq))
            FILTER (WHERE ch.hides_read), '[]'))::text)
    FROM changed ch HAVING count(*) > 0
)
SELECT chat_id, user_id, delivered_seq, read_seq, CASE WHEN hides_read THEN shown_read END,
    delivered_seq > was_delivered
FROM changed
-- A SELECT in WITH runs only where it is used.
WHERE (SELECT count(*) FROM hinted) >= 0
ORDER BY chat_id, user_id
"""


async def raise_watermarks(database: Database, raises: Sequence[WatermarkRaise]) -> list[MemberWatermarks]:
    """Raise watermarks, record when, and have published what changed; returns only that.

    Where nothing changes, the marks may have been stored before; then this waits for replicas as that did.
    """
    with database.hints.leaving(len(raises)) as leaving:
        records = await database.fetch(
            _RAISE,
            database.server_name,
            *leaving.place,
            [item.user_id for item in raises],
            [item.chat_id for item in raises],
            [item.delivered_seq for item in raises],
            [item.read_seq for item in raises],
            call=CallTimes("receipts"),
        )
        if records:
            leaving.hint = _hint(database.server_name, records)
    if not records:
        async with database.connection() as connection:
            await confirm(connection)
    return [MemberWatermarks(*record[:4]) for record in records]


def _hint(origin: str, records: Sequence[Record]) -> Hint:
    """Return what the statement left, as it did."""
    receipts, own = [], []
    for chat_id, user_id, delivered_seq, read_seq, shown_read, is_delivery in records:
        if shown_read is None or is_delivery:
            receipts.append((chat_id, user_id, delivered_seq, read_seq if shown_read is None else shown_read))
        if shown_read is not None:
            own.append((chat_id, user_id, delivered_seq, read_seq))
    return Hint(origin, receipts=tuple(receipts), own_receipts=tuple(own))


async def watermarks(database: Database, chat_ids: Sequence[int]) -> list[MemberWatermarks]:
    """Return the watermarks of all current members of these chats."""
    records = await database.fetch(
        "SELECT chat_id, user_id, delivered_seq, read_seq FROM chat_members "
        "WHERE chat_id = ANY ($1::bigint[]) AND left_seq IS NULL ORDER BY chat_id, user_id",
        list(chat_ids),
    )
    return [MemberWatermarks(*record) for record in records]


_RAISED = """
SELECT cm.chat_id, cm.user_id, cm.delivered_seq, cm.read_seq FROM chat_members cm
WHERE cm.chat_id = ANY ($1::bigint[]) AND EXISTS (
    -- The whole primary key: a watermark's own entry of the log says when it was raised.
    SELECT FROM receipts r
    WHERE r.chat_id = cm.chat_id AND r.user_id = cm.user_id AND r.at > now() - make_interval(secs => $2)
        AND (r.kind, r.up_to_seq) IN (('delivered', cm.delivered_seq), ('read', cm.read_seq)))
ORDER BY cm.chat_id, cm.user_id
"""


async def raised_watermarks(
    database: Database, chat_ids: Sequence[int], within_seconds: float
) -> list[MemberWatermarks]:
    """Return the watermarks of these chats that were raised within so many seconds, former members' too."""
    records = await database.fetch(_RAISED, list(chat_ids), within_seconds)
    return [MemberWatermarks(*record) for record in records]


async def own_watermarks(database: Database, user_ids: Sequence[int]) -> list[MemberWatermarks]:
    """Return what these users have received and read without showing it to others, where they have."""
    records = await database.fetch(
        "SELECT chat_id, user_id, greatest(delivered_seq, own_delivered_seq), greatest(read_seq, own_read_seq) "
        "FROM chat_members WHERE user_id = ANY ($1::bigint[]) AND own_read_seq IS NOT NULL ORDER BY chat_id, user_id",
        list(user_ids),
    )
    return [MemberWatermarks(*record) for record in records]
