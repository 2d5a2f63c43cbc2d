"""The transaction in which a group changes: who may begin it, the rows that it adds, and what its call returns."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from chatserver import checks
from chatserver.audit import audited
from chatserver.bounds import GROUP_MEMBERS_MAX
from chatserver.errors import Blocked, ChatNotFound, NotAMember, NotAnAdmin, ValidationFailed
from chatserver.events import MemberAddedDetail
from chatserver.model import GroupInfo
from chatserver.storage import chats, groups
from chatserver.storage.audit import AuditEvent
from chatserver.storage.messages import append_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatserver.audit import Trail
    from chatserver.events import EventDetail
    from chatserver.group_fields import GroupFields
    from chatserver.model import Role
    from chatserver.storage.database import Connection, Database
    from chatserver.storage.groups import LockedGroup, Membership

BLOCKED_ADDING: Final = "This user cannot be added: they or an admin of the group have blocked the other."

Needs = Literal["read", "edit", "add", "administer"]
"""What a call does with a group: see it, or leave it; change its name, picture and description; add members; or what is
for admins alone."""


def may(needs: Needs, role: Role, fields: GroupFields) -> bool:
    """Return whether a member may do something with a group.

    Example:
        >>> from chatserver.group_fields import GroupFields
        >>> group = GroupFields("Team", who_may_edit="everyone")
        >>> may("edit", "member", group), may("add", "member", group), may("add", "admin", group)
        (True, False, True)
    """
    for_everyone = {
        "read": True,
        "edit": fields.who_may_edit == "everyone",
        "add": fields.who_may_add == "everyone",
        "administer": False,
    }
    return role == "admin" or for_everyone[needs]


@asynccontextmanager
async def changing(
    database: Database, user_id: int, group_id: int, needs: Needs, *, former: bool = False, reads: bool = False
) -> AsyncIterator[tuple[Connection, LockedGroup, Membership, Trail]]:
    """Open a transaction in which the group cannot change otherwise and the caller may change it.

    Yields:
        Its connection, the group, the caller's membership, and the audit trail.

    Raises:
        ChatNotFound: no such group, or the caller was never a member.
        NotAMember: the caller is a former member, and `former` does not allow that.
        NotAnAdmin: the caller is a plain member, who may not do what the call `needs`.
    """
    if not checks.is_id(group_id):
        raise ChatNotFound
    async with audited(database, repeatable=not reads) as (connection, trail):
        group = await groups.lock_group(connection, group_id)
        own = await groups.membership(connection, group_id, user_id)
        if group is None or own is None:
            raise ChatNotFound
        if own.left_seq is not None and not former:
            raise NotAMember
        if not may(needs, own.role, group.fields):
            raise NotAnAdmin
        yield connection, group, own, trail


async def append(connection: Connection, trail: Trail, group_id: int, user_id: int, detail: EventDetail) -> int:
    """Add a row to a group that is locked; returns its seq."""
    return await append_event(connection, trail.announcement, chat_id=group_id, sender_id=user_id, detail=detail)


def act(action: str, user_id: int, group_id: int, **detail: object) -> AuditEvent:
    """Return the event of the audit log for what a user did in a group."""
    return AuditEvent(action=action, user_id=user_id, chat_id=group_id, detail=detail)


async def make_member(
    connection: Connection,
    group: LockedGroup,
    trail: Trail,
    *,
    by: int,
    member_id: int,
    field: str,
) -> int:
    """Make a user a member of a group that is locked; returns the seq of the row, the first that the member reads.

    Args:
        connection: of the transaction.
        group: the user is no member of it.
        trail: of the transaction.
        by: who adds the user, or the user themselves, who joins.
        member_id: the user.
        field: of the request, for the error of a full group.

    Raises:
        ValidationFailed: the group is full.
        Blocked: a block stands between the user and `by`, or an admin of the group.
    """
    group_id = group.group_id
    if await groups.count_members(connection, group_id) >= GROUP_MEMBERS_MAX:
        raise ValidationFailed.of(field, f"the group is full: it has {GROUP_MEMBERS_MAX} members")
    # All admins and not only the one who adds: else one who is blocked has a friend add whom they cannot add.
    if await groups.blocked_with(connection, member_id, [by, *await groups.admins(connection, group_id)]):
        raise Blocked(BLOCKED_ADDING)
    await groups.add_member(connection, group_id, member_id, group.last_seq)
    seq = await append(connection, trail, group_id, by, MemberAddedDetail(user_ids=[member_id]))
    trail.announcement.members(group_id, [member_id])
    return seq


async def describe(connection: Connection, group_id: int, seq: int | None) -> GroupInfo:
    """Return a group as it is now, with the seq of the row that the call has added.

    Raises:
        ChatNotFound: no such group.
    """
    group = await groups.lock_group(connection, group_id)
    if group is None:
        raise ChatNotFound
    members = await chats.members_of(connection, [group_id])
    return GroupInfo(
        group_id, group_id, group.fields, group.created_by, group.created_at_us, members.get(group_id, ()), seq
    )


async def describe_to(connection: Connection, group_id: int, user_id: int) -> GroupInfo:
    """Return a group to one whose call changed nothing: a former member gets it as it was when they left.

    Raises:
        ChatNotFound: no such group, or the user was never in it.
    """
    info = await describe(connection, group_id, None)
    own = await groups.membership(connection, group_id, user_id)
    if own is None:
        raise ChatNotFound
    if own.left_seq is None:
        return info
    fields = await groups.fields_at_leaving(connection, group_id, user_id)
    return msgspec.structs.replace(info, fields=fields, members=())
