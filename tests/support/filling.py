"""A database full of chats in seconds: rows as the servers would have written them, made by generate_series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.storage.database import single_connection

if TYPE_CHECKING:
    from collections.abc import Callable

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
WHERE $1 IN (d.user_lo, d.user_hi) AND d.chat_id > 1000000 ORDER BY d.chat_id, s
"""


async def fill_chats(read_dsn: Callable[[], str], user_id: int, *, chats: int, messages_each: int) -> None:
    """Give a user direct chats with that many people, and messages in each."""
    # A connection of its own: no call of the pool may take so long.
    async with single_connection(read_dsn, "filling") as connection:
        await connection.execute(_PEOPLE, chats)
        await connection.execute(_CHATS, user_id, messages_each)
        await connection.execute(_MESSAGES, user_id, messages_each)
        await connection.execute("ANALYZE")


async def fill_groups(read_dsn: Callable[[], str], user_id: int, *, groups: int, members: int) -> None:
    """Put a user, as the newest member, into groups of that many of the people of `fill_chats`."""
    async with single_connection(read_dsn, "filling") as connection:
        await connection.execute(_GROUPS, user_id, groups, members)
        await connection.execute("ANALYZE")


_GROUPS = """
WITH made AS (
    INSERT INTO chats (chat_id, kind, last_seq) SELECT 2000000 + n, 'group', 1 FROM generate_series(1, $2::int) AS n
    RETURNING chat_id
), named AS (
    INSERT INTO groups (group_id, group_name, created_by) SELECT chat_id, 'full', $1 FROM made
), joined AS (
    INSERT INTO chat_members (chat_id, user_id, joined_at)
    SELECT chat_id, user_id, now() - make_interval(secs => CASE WHEN user_id = $1 THEN 0 ELSE 9 END)
    FROM made, (SELECT user_id FROM users ORDER BY user_id = $1 DESC, user_id LIMIT $3::int) AS people
)
INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at)
SELECT chat_id, 1, $1, 'hello, all of you', now() FROM made
"""


async def fill_strangers(read_dsn: Callable[[], str], *, chats: int, messages_each: int) -> None:
    """Give the people of `fill_chats` direct chats with each other, so that one user's rows are few among many.

    Each of them has blocked some others, too.
    """
    async with single_connection(read_dsn, "filling") as connection:
        await connection.execute(_STRANGERS, chats, messages_each)
        await connection.execute(_BLOCKS)
        await connection.execute("ANALYZE")


_BLOCKS = """
INSERT INTO blocks (blocker_id, blocked_id)
SELECT a.user_id, b.user_id FROM users a JOIN users b ON b.user_id BETWEEN a.user_id + 1 AND a.user_id + 20
WHERE a.username ~ '^p[0-9]+$' AND b.username ~ '^p[0-9]+$'
"""

_STRANGERS = """
WITH people AS (
    SELECT user_id, row_number() OVER (ORDER BY user_id) AS n, count(*) OVER () AS number
    FROM users WHERE username ~ '^p[0-9]+$'
), pairs AS (
    SELECT 3000000 + row_number() OVER () AS chat_id, a.user_id AS user_lo, b.user_id AS user_hi
    FROM people a JOIN people b ON b.n > a.n AND b.n <= a.n + 1 + $1::int / a.number LIMIT $1::int
), made AS (
    INSERT INTO chats (chat_id, kind, last_seq) SELECT chat_id, 'direct', $2::int FROM pairs
), paired AS (
    INSERT INTO direct_chats (user_lo, user_hi, chat_id) SELECT user_lo, user_hi, chat_id FROM pairs
), joined AS (
    INSERT INTO chat_members (chat_id, user_id) SELECT chat_id, unnest(ARRAY[user_lo, user_hi]) FROM pairs
)
INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at)
SELECT chat_id, s, user_lo, 'message ' || s, now() FROM pairs, generate_series(1, $2::int) AS s
"""
