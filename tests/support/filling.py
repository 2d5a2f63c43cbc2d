"""A database full of chats in seconds: rows as the servers would have written them, made by generate_series."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.storage.database import Database

_PEOPLE = """
INSERT INTO users (phone_number, username, username_key)
SELECT '+1777' || lpad(n::text, 7, '0'), 'p' || n, 'p' || n FROM generate_series(1, $1::int) AS n
"""

# The newest chats have the highest ids.
_CHATS = """
WITH others AS (
    SELECT user_id, row_number() OVER (ORDER BY user_id) AS n FROM users WHERE username ~ '^p[0-9]+$'
), made AS (
    INSERT INTO chats (chat_id, kind, last_seq, last_at)
    SELECT 1000000 + n, 'direct', $2::int, now() - make_interval(secs => 1000000 - n) FROM others
), paired AS (
    INSERT INTO direct_chats (user_lo, user_hi, chat_id)
    SELECT least($1::bigint, user_id), greatest($1::bigint, user_id), 1000000 + n FROM others
)
INSERT INTO chat_members (chat_id, user_id) SELECT 1000000 + n, unnest(ARRAY[$1::bigint, user_id]) FROM others
"""

# Every third row is the user's own; all are unread.
_MESSAGES = """
INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at)
SELECT d.chat_id, s, CASE WHEN s % 3 = 0 THEN $1::bigint ELSE d.user_lo + d.user_hi - $1::bigint END,
    'message ' || s || ' of chat ' || d.chat_id, c.last_at - make_interval(secs => $2::int - s)
FROM direct_chats d JOIN chats c USING (chat_id), generate_series(1, $2::int) AS s
WHERE $1 IN (d.user_lo, d.user_hi) ORDER BY d.chat_id, s
"""

FILL_SECONDS = 60
"""Seconds a step may take; a tenth of it is usual."""


async def fill_chats(database: Database, user_id: int, *, chats: int, messages_each: int) -> None:
    """Give a user direct chats with that many people, and messages in each."""
    for statement, arguments in (
        (_PEOPLE, (chats,)),
        (_CHATS, (user_id, messages_each)),
        (_MESSAGES, (user_id, messages_each)),
    ):
        # One by one, each within a call's time limit; the planner may scan here.
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL enable_seqscan = on")
            await connection.execute(statement, *arguments, timeout=FILL_SECONDS)


async def fill_groups(database: Database, user_id: int, *, groups: int, members: int) -> None:
    """Put a user, as the newest member, into groups of that many of the people of `fill_chats`."""
    await database.execute(
        "WITH made AS (INSERT INTO chats (chat_id, kind, last_seq) "
        "SELECT 2000000 + n, 'group', 0 FROM generate_series(1, $2::int) AS n RETURNING chat_id), "
        "named AS (INSERT INTO groups (group_id, group_name, created_by) SELECT chat_id, 'full', $1 FROM made) "
        "INSERT INTO chat_members (chat_id, user_id, joined_at) "
        "SELECT chat_id, user_id, now() - make_interval(secs => CASE WHEN user_id = $1 THEN 0 ELSE 9 END) FROM made, "
        "(SELECT user_id FROM users ORDER BY user_id = $1 DESC, user_id LIMIT $3::int) AS people",
        user_id,
        groups,
        members,
    )
    await database.execute("UPDATE chats SET last_seq = 1 WHERE chat_id > 2000000")
    await database.execute(
        "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
        "SELECT chat_id, 1, $1, 'hello, all of you', now() FROM chats WHERE chat_id > 2000000",
        user_id,
    )
