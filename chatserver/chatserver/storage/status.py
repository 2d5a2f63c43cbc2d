"""SQL of a row's status: the lowest watermark of the members who may see it.

Who may see a row is fixed when it is written: the members at that time. So a status never falls when members leave or
return.
"""

from __future__ import annotations

from typing import Final, LiteralString

MARKS: Final[LiteralString] = """
marks AS MATERIALIZED (
    -- The two lowest watermarks per chat: they give the lowest that is not the sender's, for each sender. Former
    -- members and those who returned are listed separately, with the rows they may see but have not received or read.
    SELECT cm.chat_id,
        (array_agg(cm.user_id ORDER BY cm.delivered_seq, cm.user_id) FILTER (WHERE cm.plain))[1] AS delivered_by,
        (array_agg(cm.delivered_seq ORDER BY cm.delivered_seq, cm.user_id) FILTER (WHERE cm.plain))[1:2] AS delivered,
        (array_agg(cm.user_id ORDER BY cm.read_seq, cm.user_id) FILTER (WHERE cm.plain))[1] AS read_by,
        (array_agg(cm.read_seq ORDER BY cm.read_seq, cm.user_id) FILTER (WHERE cm.plain))[1:2] AS read,
        array_agg(cm.user_id) FILTER (WHERE NOT cm.plain) AS others,
        array_agg(int8multirange(int8range(least(cm.delivered_seq, cm.left_seq), cm.left_seq, '(]')) - cm.while_left)
            FILTER (WHERE NOT cm.plain) AS undelivered,
        array_agg(int8multirange(int8range(least(cm.read_seq, cm.left_seq), cm.left_seq, '(]')) - cm.while_left)
            FILTER (WHERE NOT cm.plain) AS unread
    FROM (
        SELECT cm.*, cm.left_seq IS NULL AND coalesce(upper(cm.while_left) <= cm.read_seq + 1, true) AS plain
        FROM chat_members cm
        WHERE cm.chat_id = ANY (ARRAY(SELECT DISTINCT p.chat_id FROM picked p))
    ) cm
    WHERE cm.left_seq IS NULL OR (cm.read_seq < cm.left_seq AND cm.left_seq >= (SELECT min(p.seq) FROM picked p))
    GROUP BY cm.chat_id
)"""
"""The CTE `marks` of the chats of `picked (chat_id, seq)`."""

STATUS: Final[LiteralString] = """
        CASE
            WHEN coalesce(k.read[CASE WHEN k.read_by = m.sender_id THEN 2 ELSE 1 END] >= m.seq, true)
                AND (k.others IS NULL OR NOT EXISTS (
                    SELECT FROM unnest(k.others, k.unread) o (user_id, rows)
                    WHERE o.user_id <> m.sender_id AND o.rows @> m.seq))
                -- Whoever shows nobody what they have read is not shown it either; but nobody else sees their notes.
                AND (NOT EXISTS (
                        SELECT FROM privacy p WHERE p.user_id = m.sender_id AND p.receipts_off_since <= m.created_at)
                    OR (k.others IS NULL AND k.read[CASE WHEN k.read_by = m.sender_id THEN 2 ELSE 1 END] IS NULL))
                THEN 'read'
            WHEN coalesce(k.delivered[CASE WHEN k.delivered_by = m.sender_id THEN 2 ELSE 1 END] >= m.seq, true)
                AND (k.others IS NULL OR NOT EXISTS (
                    SELECT FROM unnest(k.others, k.undelivered) o (user_id, rows)
                    WHERE o.user_id <> m.sender_id AND o.rows @> m.seq)) THEN 'delivered'
            ELSE 'sent'
        END
"""
"""The status of a row `m` of the chat of `marks k`: the lowest of those who may see it, without its sender; `read` if
there is nobody else, and `delivered` at most for a sender who does not show what they have read."""
