"""SQL of groups; each function is a step of a transaction that `messaging.groups` composes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.times import micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.model import Role
    from chatserver.storage.database import Connection


class LockedGroup(msgspec.Struct, frozen=True):
    """A group whose chat row is locked: its members and numbers do not change until the transaction ends."""

    group_id: int
    group_name: str
    created_by: int
    created_at_us: int
    last_seq: int


class Membership(msgspec.Struct, frozen=True):
    """A user's place in a group; `left_seq` is None for a current member."""

    role: Role
    left_seq: int | None


async def draw_group_id(connection: Connection) -> int:
    """Return the id of a group that is about to be created."""
    group_id: int = await connection.fetchval("SELECT nextval(pg_get_serial_sequence('chats', 'chat_id'))")
    return group_id


async def insert_group(
    connection: Connection, group_id: int, group_name: str, creator_id: int, member_ids: Sequence[int]
) -> None:
    """Create a group with its members (including the creator, as admin)."""
    await connection.execute("INSERT INTO chats (chat_id, kind) VALUES ($1, 'group')", group_id)
    await connection.execute(
        "INSERT INTO groups (group_id, group_name, created_by) VALUES ($1, $2, $3)", group_id, group_name, creator_id
    )
    await connection.execute(
        "INSERT INTO chat_members (chat_id, user_id, role) "
        "SELECT $1, u, CASE WHEN u = $2 THEN 'admin' ELSE 'member' END FROM unnest($3::bigint[]) AS u ORDER BY u",
        group_id,
        creator_id,
        list(member_ids),
    )


async def lock_group(connection: Connection, group_id: int) -> LockedGroup | None:
    """Lock a group's chat row, as every writer of the chat does, and return the group."""
    locked = await connection.fetchrow(
        "SELECT last_seq FROM chats WHERE chat_id = $1 AND kind = 'group' FOR NO KEY UPDATE", group_id
    )
    if locked is None:
        return None
    record = await connection.fetchrow(
        "SELECT group_name, created_by, created_at FROM groups WHERE group_id = $1", group_id
    )
    if record is None:
        return None
    return LockedGroup(group_id, record[0], record[1], micros(record[2]), locked[0])


async def membership(connection: Connection, group_id: int, user_id: int) -> Membership | None:
    """Return a user's place in a group; None: never in it."""
    record = await connection.fetchrow(
        "SELECT role, left_seq FROM chat_members WHERE chat_id = $1 AND user_id = $2", group_id, user_id
    )
    return None if record is None else Membership(record[0], record[1])


async def count_members(connection: Connection, group_id: int) -> int:
    """Return the number of current members."""
    number: int = await connection.fetchval(
        "SELECT count(*) FROM chat_members WHERE chat_id = $1 AND left_seq IS NULL", group_id
    )
    return number


async def rename(connection: Connection, group_id: int, group_name: str) -> None:
    """Set the group's name."""
    await connection.execute("UPDATE groups SET group_name = $2 WHERE group_id = $1", group_id, group_name)


async def name_at(connection: Connection, group_id: int, seq: int) -> str | None:
    """Return the name that a group had at a row: the only one that a former member sees."""
    name: str | None = await connection.fetchval(
        "SELECT detail ->> 'group_name' FROM messages WHERE chat_id = $1 AND kind = 'group' AND seq <= $2 "
        "ORDER BY seq DESC LIMIT 1",
        group_id,
        seq,
    )
    return name


async def add_member(connection: Connection, group_id: int, user_id: int, last_seq: int) -> None:
    """Add a user, who reads from last_seq + 1 on; one who returns can still read the earlier rows."""
    await connection.execute(
        "INSERT INTO chat_members AS cm (chat_id, user_id, joined_seq, delivered_seq, read_seq) "
        "VALUES ($1, $2, $3, $3, $3) "
        "ON CONFLICT (chat_id, user_id) DO UPDATE SET role = 'member', joined_at = now(), left_seq = NULL, "
        "absent = cm.absent + int8multirange(int8range(cm.left_seq, $3, '(]')), "
        "while_left = cm.while_left + int8multirange(int8range(cm.left_seq, $3, '(]')), "
        # Earlier rows can still be delivered, so watermarks do not jump.
        "delivered_seq = cm.delivered_seq, read_seq = cm.read_seq",
        group_id,
        user_id,
        last_seq,
    )


async def end_membership(connection: Connection, group_id: int, user_id: int, left_seq: int) -> None:
    """Let a user read up to left_seq and no further."""
    await connection.execute(
        "UPDATE chat_members SET left_seq = $3, role = 'member' WHERE chat_id = $1 AND user_id = $2",
        group_id,
        user_id,
        left_seq,
    )


async def set_role(connection: Connection, group_id: int, user_id: int, role: Role) -> None:
    """Set a member's role."""
    await connection.execute(
        "UPDATE chat_members SET role = $3 WHERE chat_id = $1 AND user_id = $2", group_id, user_id, role
    )


async def other_admins(connection: Connection, group_id: int, user_id: int) -> int:
    """Return the number of admins beside this user."""
    number: int = await connection.fetchval(
        "SELECT count(*) FROM chat_members "
        "WHERE chat_id = $1 AND user_id <> $2 AND left_seq IS NULL AND role = 'admin'",
        group_id,
        user_id,
    )
    return number


async def longest_standing(connection: Connection, group_id: int, user_id: int) -> int | None:
    """Return the longest-standing current member beside this user."""
    found: int | None = await connection.fetchval(
        "SELECT user_id FROM chat_members WHERE chat_id = $1 AND user_id <> $2 AND left_seq IS NULL "
        "ORDER BY coalesce(came_seq, joined_seq), joined_at, user_id LIMIT 1",
        group_id,
        user_id,
    )
    return found


async def user_exists(connection: Connection, user_id: int) -> bool:
    """Return whether there is such an account."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM users WHERE user_id = $1 AND deleted_at IS NULL)", user_id
    )
    return found


async def user_existed(connection: Connection, user_id: int) -> bool:
    """Return whether there is such an account, or was one before it was deleted."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM users WHERE user_id = $1)", user_id)
    return found


async def blocked_with(connection: Connection, user_id: int, other_ids: Sequence[int]) -> set[int]:
    """Return those of the others who block the user or whom the user blocks."""
    records = await connection.fetch(
        "SELECT blocked_id FROM blocks WHERE blocker_id = $1 AND blocked_id = ANY ($2::bigint[]) "
        "UNION SELECT blocker_id FROM blocks WHERE blocked_id = $1 AND blocker_id = ANY ($2::bigint[])",
        user_id,
        list(other_ids),
    )
    return {record[0] for record in records}


async def admins(connection: Connection, group_id: int) -> list[int]:
    """Return the ids of the group's admins."""
    records = await connection.fetch(
        "SELECT user_id FROM chat_members WHERE chat_id = $1 AND left_seq IS NULL AND role = 'admin'", group_id
    )
    return [record[0] for record in records]
