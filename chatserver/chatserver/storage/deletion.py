"""SQL of the deletion of accounts: steps of a transaction, and the list of unfinished deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.codes import forget_codes

if TYPE_CHECKING:
    from chatserver.storage.database import Connection, Database


class PendingDeletion(msgspec.Struct, frozen=True):
    """A deleted account that may still be a member of groups."""

    user_id: int
    age_seconds: float


async def anonymise(connection: Connection, user_id: int) -> str | None:
    """Remove everything from an account that identifies its owner; returns its number, None if there is no account.

    Whoever signs in with the number meanwhile waits for this transaction, and then makes another account.
    """
    phone_number: str | None = await connection.fetchval(
        "SELECT phone_number FROM users WHERE user_id = $1 FOR UPDATE", user_id
    )
    if phone_number is None:
        return None
    await connection.execute(
        "UPDATE users SET phone_number = NULL, username = NULL, username_key = NULL, profile_picture_url = NULL, "
        "about = NULL, last_seen = NULL, deleted_at = now() WHERE user_id = $1",
        user_id,
    )
    await connection.execute("DELETE FROM privacy WHERE user_id = $1", user_id)
    await connection.execute("DELETE FROM pins WHERE user_id = $1", user_id)
    await connection.execute("INSERT INTO account_deletions (user_id) VALUES ($1)", user_id)
    await forget_codes(connection, phone_number)
    return phone_number


async def end_devices(connection: Connection, user_id: int) -> list[int]:
    """End the sessions of all devices of a user and delete the devices' names; returns those that were signed in."""
    await connection.execute(
        "DELETE FROM ws_tickets WHERE device_id IN (SELECT device_id FROM devices WHERE user_id = $1)", user_id
    )
    records = await connection.fetch(
        # Locked in the same order as in `touch_devices`.
        "SELECT device_id, revoked_at IS NULL FROM devices WHERE user_id = $1 ORDER BY device_id FOR NO KEY UPDATE",
        user_id,
    )
    await connection.execute(
        "UPDATE devices SET device_name = NULL, revoked_at = coalesce(revoked_at, now()) WHERE user_id = $1", user_id
    )
    return [record[0] for record in records if record[1]]


async def close_direct_chats(connection: Connection, user_id: int) -> None:
    """Stop messages to a user: as if the user had blocked everybody with whom they have a direct chat.

    Not in the transaction of `anonymise`: it looks at the others' rows, and two who delete their accounts at the same
    moment would wait for each other.
    """
    await connection.execute(
        "INSERT INTO blocks (blocker_id, blocked_id) "
        "SELECT $1, CASE WHEN d.user_lo = $1 THEN d.user_hi ELSE d.user_lo END "
        "FROM chat_members cm JOIN direct_chats d USING (chat_id) WHERE cm.user_id = $1 AND d.user_lo <> d.user_hi "
        "ON CONFLICT DO NOTHING",
        user_id,
    )


async def pending(database: Database, limit: int) -> list[PendingDeletion]:
    """Return deleted accounts that may still be members of groups, the oldest first."""
    records = await database.fetch(
        "SELECT user_id, extract(epoch FROM now() - deleted_at)::float8 FROM account_deletions "
        "ORDER BY deleted_at, user_id LIMIT $1",
        limit,
    )
    return [PendingDeletion(record[0], record[1]) for record in records]


async def groups_of(database: Database, user_id: int) -> list[int]:
    """Return the groups that a user is a member of."""
    records = await database.fetch(
        "SELECT g.group_id FROM chat_members cm JOIN groups g ON g.group_id = cm.chat_id "
        "WHERE cm.user_id = $1 AND cm.left_seq IS NULL ORDER BY g.group_id",
        user_id,
    )
    return [record[0] for record in records]


async def blockers_of(database: Database, user_id: int, limit: int) -> list[int]:
    """Return accounts, none of them deleted, that block a user."""
    records = await database.fetch(
        "SELECT b.blocker_id FROM blocks b JOIN users u ON u.user_id = b.blocker_id "
        "WHERE b.blocked_id = $1 AND u.deleted_at IS NULL ORDER BY b.blocker_id LIMIT $2",
        user_id,
        limit,
    )
    return [record[0] for record in records]


async def settle_watermarks(database: Database, user_id: int) -> None:
    """Exclude a deleted user from the status of messages: their watermarks never rise again."""
    await database.execute(
        "UPDATE chat_members SET delivered_seq = left_seq, read_seq = left_seq "
        "WHERE user_id = $1 AND read_seq < left_seq",
        user_id,
    )


async def finish(database: Database, user_id: int) -> None:
    """Remove an account from the list of unfinished deletions."""
    await database.execute("DELETE FROM account_deletions WHERE user_id = $1", user_id)
