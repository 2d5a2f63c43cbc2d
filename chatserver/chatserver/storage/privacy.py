"""SQL of users' privacy settings, and of who is whose contact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.visibility import Privacy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from chatserver.storage.database import Connection
    from chatserver.visibility import Audience


async def privacy_of(connection: Connection, user_id: int) -> Privacy:
    """Return a user's settings."""
    record = await connection.fetchrow(
        "SELECT last_seen, picture, about, groups, receipts_off_since IS NULL FROM privacy WHERE user_id = $1", user_id
    )
    return Privacy() if record is None else Privacy(*record)


async def store(connection: Connection, user_id: int, privacy: Privacy) -> None:
    """Store a user's settings; messages of a user who does not show what they have read count from now on."""
    now = None if privacy.read_receipts else await connection.fetchval("SELECT clock_timestamp()")
    await connection.execute(
        "INSERT INTO privacy AS p (user_id, last_seen, picture, about, groups, receipts_off_since) "
        "VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (user_id) DO UPDATE SET last_seen = excluded.last_seen, picture = excluded.picture, "
        "about = excluded.about, groups = excluded.groups, receipts_off_since = CASE "
        "WHEN excluded.receipts_off_since IS NOT NULL THEN coalesce(p.receipts_off_since, excluded.receipts_off_since) "
        "END",
        user_id,
        privacy.last_seen,
        privacy.picture,
        privacy.about,
        privacy.groups,
        now,
    )


async def restricted(connection: Connection, user_ids: Sequence[int]) -> dict[int, Audience]:
    """Return {user_id: who may add them to groups} of those whom not everyone may add."""
    records = await connection.fetch(
        "SELECT user_id, groups FROM privacy WHERE user_id = ANY ($1::bigint[]) AND groups <> 'everyone'",
        list(user_ids),
    )
    return {record[0]: record[1] for record in records}


async def direct_chats(connection: Connection, user_id: int, other_ids: Collection[int]) -> dict[int, int]:
    """Return {other_id: the direct chat of the user with them} of those with whom there is one."""
    records = await connection.fetch(
        "SELECT o.other_id, d.chat_id FROM unnest($2::bigint[]) AS o (other_id) JOIN direct_chats d "
        "ON d.user_lo = least(o.other_id, $1::bigint) AND d.user_hi = greatest(o.other_id, $1::bigint)",
        user_id,
        list(other_ids),
    )
    return {record[0]: record[1] for record in records}


async def writers(connection: Connection, chats: Mapping[int, int]) -> set[int]:
    """Return those of {user_id: chat_id} who have written in that chat."""
    records = await connection.fetch(
        "SELECT w.user_id FROM unnest($1::bigint[], $2::bigint[]) AS w (user_id, chat_id) WHERE EXISTS ("
        "SELECT FROM messages m WHERE m.chat_id = w.chat_id AND m.sender_id = w.user_id AND m.kind = 'message')",
        list(chats.keys()),
        list(chats.values()),
    )
    return {record[0] for record in records}
