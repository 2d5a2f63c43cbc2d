"""SQL of groups; each function is a step of a transaction that `messaging.groups` composes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString

import msgspec

from chatserver.group_fields import GroupFields
from chatserver.storage.times import micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.group_fields import Who
    from chatserver.model import Role
    from chatserver.storage.database import Connection


FIELDS: Final[LiteralString] = "g.picture_url, g.description, g.who_may_edit, g.who_may_add"
"""Columns of a group `g` that `fields_from` reads, beside its name and `admins_send` of its chat."""

FIELDS_COLUMNS: Final = 4


def fields_from(group_name: str, columns: Sequence[Any], *, admins_send: bool) -> GroupFields:
    """Make a group's fields from its name, the columns of `FIELDS`, and whether admins alone may send."""
    picture_url, description, who_may_edit, who_may_add = columns
    who_may_send: Who = "admins" if admins_send else "everyone"
    return GroupFields(group_name, picture_url, description, who_may_send, who_may_edit, who_may_add)


def fields_seen(seen: str | None, group_name: str) -> GroupFields:
    """Make the fields that a former member sees from what was stored when they left, else from the name alone."""
    return GroupFields(group_name) if seen is None else msgspec.json.decode(seen, type=GroupFields)


NAME_SEEN: Final[LiteralString] = (
    "(SELECT m.detail ->> 'group_name' FROM messages m "
    "WHERE m.chat_id = mine.chat_id AND m.kind = 'group' AND m.seq <= mine.last_seq "
    "AND m.detail ->> 'group_name' IS NOT NULL ORDER BY m.seq DESC LIMIT 1)"
)
"""The name that a group had at the last row, `last_seq`, which the member `mine` sees of it."""


class LockedGroup(msgspec.Struct, frozen=True):
    """A group whose chat row is locked: its members and numbers do not change until the transaction ends."""

    group_id: int
    fields: GroupFields
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
        "SELECT last_seq, admins_send FROM chats WHERE chat_id = $1 AND kind = 'group' FOR NO KEY UPDATE", group_id
    )
    if locked is None:
        return None
    record = await connection.fetchrow(
        f"SELECT g.group_name, g.created_by, g.created_at, {FIELDS} FROM groups g WHERE g.group_id = $1", group_id
    )
    if record is None:
        return None
    fields = fields_from(record[0], record[3:], admins_send=locked[1])
    return LockedGroup(group_id, fields, record[1], micros(record[2]), locked[0])


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


async def set_fields(connection: Connection, group_id: int, fields: GroupFields) -> None:
    """Store a group's fields."""
    await connection.execute(
        "UPDATE groups SET group_name = $2, picture_url = $3, description = $4, who_may_edit = $5, who_may_add = $6 "
        "WHERE group_id = $1",
        group_id,
        fields.group_name,
        fields.picture_url,
        fields.description,
        fields.who_may_edit,
        fields.who_may_add,
    )
    await connection.execute(
        "UPDATE chats SET admins_send = $2 WHERE chat_id = $1 AND admins_send <> $2",
        group_id,
        fields.who_may_send == "admins",
    )


async def fields_at_leaving(connection: Connection, group_id: int, user_id: int) -> GroupFields:
    """Return a group as a former member sees it: as it was when they left."""
    record = await connection.fetchrow(
        f"SELECT mine.group_seen, CASE WHEN mine.group_seen IS NULL THEN {NAME_SEEN} END "
        "FROM (SELECT cm.chat_id, cm.left_seq AS last_seq, cm.group_seen FROM chat_members cm "
        "WHERE cm.chat_id = $1 AND cm.user_id = $2) mine",
        group_id,
        user_id,
    )
    seen, group_name = record or (None, None)
    return fields_seen(seen, group_name or "")


async def add_member(connection: Connection, group_id: int, user_id: int, last_seq: int) -> None:
    """Add a user, who reads from last_seq + 1 on; one who returns can still read the earlier rows."""
    await connection.execute(
        "INSERT INTO chat_members AS cm (chat_id, user_id, joined_seq, delivered_seq, read_seq) "
        "VALUES ($1, $2, $3, $3, $3) "
        "ON CONFLICT (chat_id, user_id) DO UPDATE SET role = 'member', joined_at = now(), left_seq = NULL, "
        "group_seen = NULL, "
        "absent = cm.absent + int8multirange(int8range(cm.left_seq, $3, '(]')), "
        "while_left = cm.while_left + int8multirange(int8range(cm.left_seq, $3, '(]')), "
        # Earlier rows can still be delivered, so watermarks do not jump.
        "delivered_seq = cm.delivered_seq, read_seq = cm.read_seq",
        group_id,
        user_id,
        last_seq,
    )


async def end_membership(
    connection: Connection, group_id: int, user_id: int, left_seq: int, fields: GroupFields
) -> None:
    """Let a user read up to left_seq and no further, and see the group as it is now."""
    await connection.execute(
        "UPDATE chat_members SET left_seq = $3, role = 'member', group_seen = $4 WHERE chat_id = $1 AND user_id = $2",
        group_id,
        user_id,
        left_seq,
        msgspec.json.encode(fields).decode(),
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


async def was_removed(connection: Connection, group_id: int, user_id: int) -> bool:
    """Return whether a former member was removed the last time, and has not left."""
    action: str | None = await connection.fetchval(
        "SELECT m.detail ->> 'action' FROM chat_members cm JOIN messages m ON m.chat_id = cm.chat_id "
        "AND m.seq = cm.left_seq WHERE cm.chat_id = $1 AND cm.user_id = $2",
        group_id,
        user_id,
    )
    return action == "removed"
