"""SQL of invites; functions that take a connection are steps of a transaction in which the group is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString

import msgspec

from chatserver.storage.times import micros

if TYPE_CHECKING:
    from chatserver.storage.database import Connection, Database, Record


class Invite(msgspec.Struct, frozen=True):
    """An invite, without its code.

    Attributes:
        max_uses: how often it can be used in all; None: any number.
    """

    invite_id: int
    created_by: int
    created_at_us: int
    expires_at_us: int
    max_uses: int | None
    uses: int


class Preview(msgspec.Struct, frozen=True):
    """What a group shows to those who have a code."""

    group_name: str
    picture_url: str | None
    description: str | None
    member_count: int


_COLUMNS: Final[LiteralString] = "i.invite_id, i.created_by, i.created_at, i.expires_at, i.max_uses, i.uses"


def _invite(record: Record) -> Invite:
    invite_id, created_by, created_at, expires_at, max_uses, uses = record
    return Invite(invite_id, created_by, micros(created_at), micros(expires_at), max_uses, uses)


async def insert_invite(
    connection: Connection,
    group_id: int,
    user_id: int,
    code_hash: bytes,
    *,
    expires_in_seconds: int,
    max_uses: int | None,
) -> Invite:
    """Store an invite."""
    record = await connection.fetchrow(
        "INSERT INTO group_invites AS i (group_id, code_hash, created_by, expires_at, max_uses) "
        f"VALUES ($1, $2, $3, now() + make_interval(secs => $4), $5) RETURNING {_COLUMNS}",
        group_id,
        code_hash,
        user_id,
        expires_in_seconds,
        max_uses,
    )
    if record is None:
        raise AssertionError
    return _invite(record)


async def forget_expired(connection: Connection, group_id: int) -> None:
    """Delete the invites of a group that have expired."""
    await connection.execute("DELETE FROM group_invites WHERE group_id = $1 AND expires_at <= now()", group_id)


async def count(connection: Connection, group_id: int) -> int:
    """Return how many invites a group has."""
    number: int = await connection.fetchval("SELECT count(*) FROM group_invites WHERE group_id = $1", group_id)
    return number


async def listed(connection: Connection, group_id: int, creator_id: int | None) -> list[Invite]:
    """Return the invites of a group that have not expired, of one creator or of all, the newest first."""
    records = await connection.fetch(
        f"SELECT {_COLUMNS} FROM group_invites i WHERE i.group_id = $1 AND i.expires_at > now() "
        "AND ($2::bigint IS NULL OR i.created_by = $2) ORDER BY i.invite_id DESC",
        group_id,
        creator_id,
    )
    return [_invite(record) for record in records]


async def creator_of(connection: Connection, group_id: int, invite_id: int) -> int | None:
    """Return who has created an invite; None: there is no such invite."""
    user_id: int | None = await connection.fetchval(
        "SELECT created_by FROM group_invites WHERE group_id = $1 AND invite_id = $2", group_id, invite_id
    )
    return user_id


async def delete(connection: Connection, group_id: int, invite_id: int) -> None:
    """Delete an invite."""
    await connection.execute("DELETE FROM group_invites WHERE group_id = $1 AND invite_id = $2", group_id, invite_id)


async def forget_of_others(connection: Connection, group_id: int) -> None:
    """Delete the invites of a group whose creators may not add members, or are no members any more."""
    await connection.execute(
        "DELETE FROM group_invites i WHERE i.group_id = $1 AND NOT EXISTS ("
        "SELECT FROM chat_members cm JOIN groups g ON g.group_id = cm.chat_id "
        "WHERE cm.chat_id = i.group_id AND cm.user_id = i.created_by AND cm.left_seq IS NULL "
        "AND (cm.role = 'admin' OR g.who_may_add = 'everyone'))",
        group_id,
    )


async def is_known(database: Database, group_id: int, code_hash: bytes, user_id: int) -> bool:
    """Return whether a group has an invite with this code, or the user is a member of it."""
    record = await database.fetchrow(
        "SELECT EXISTS (SELECT FROM group_invites WHERE group_id = $1 AND code_hash = $2) OR EXISTS ("
        "SELECT FROM chat_members WHERE chat_id = $1 AND user_id = $3 AND left_seq IS NULL)",
        group_id,
        code_hash,
        user_id,
    )
    return record is not None and bool(record[0])


async def usable(connection: Connection, group_id: int, code_hash: bytes) -> Invite | None:
    """Return the invite of a group with this code; None: there is none, or it has expired."""
    record = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM group_invites i WHERE i.group_id = $1 AND i.code_hash = $2 AND i.expires_at > now()",
        group_id,
        code_hash,
    )
    return None if record is None else _invite(record)


async def use(connection: Connection, group_id: int, invite: Invite) -> None:
    """Count a use of an invite; the last one deletes it."""
    if invite.max_uses is not None and invite.uses + 1 >= invite.max_uses:
        await delete(connection, group_id, invite.invite_id)
        return
    await connection.execute(
        "UPDATE group_invites SET uses = uses + 1 WHERE group_id = $1 AND invite_id = $2", group_id, invite.invite_id
    )


async def preview(database: Database, group_id: int, code_hash: bytes) -> Preview | None:
    """Return what a group shows to those who have this code; None: there is no such invite, or it has expired."""
    record = await database.fetchrow(
        "SELECT g.group_name, g.picture_url, g.description, ("
        "SELECT count(*) FROM chat_members cm WHERE cm.chat_id = g.group_id AND cm.left_seq IS NULL) "
        "FROM group_invites i JOIN groups g USING (group_id) "
        "WHERE i.group_id = $1 AND i.code_hash = $2 AND i.expires_at > now()",
        group_id,
        code_hash,
    )
    return None if record is None else Preview(*record)
