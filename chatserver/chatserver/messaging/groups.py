"""Groups: create, members and roles. Each change is one event in the chat, in the same transaction."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, get_args

import msgspec

from chatserver import checks
from chatserver.audit import audited
from chatserver.bounds import GROUP_MEMBERS_MAX
from chatserver.errors import (
    Blocked,
    CannotBeAdded,
    FieldError,
    IdempotencyConflict,
    UserNotFound,
    ValidationFailed,
)
from chatserver.events import (
    GroupCreatedDetail,
    MemberLeftDetail,
    MemberRemovedDetail,
    MemberRoleDetail,
)
from chatserver.messaging.group_changes import act, append, changing, describe, describe_to, make_member
from chatserver.model import Role
from chatserver.storage import accounts, groups, invites
from chatserver.storage.group_requests import GroupRequest, claim
from chatserver.storage.messages import append_event
from chatserver.users.names import check_addressee, check_known_username, check_name, username_key
from chatserver.users.phone_numbers import check_phone_number, is_number
from chatserver.users.privacy import not_addable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.messaging.group_changes import Needs
    from chatserver.model import GroupInfo
    from chatserver.storage.database import Database
    from chatserver.users.number_lookups import Admit
    from chatserver.users.phone_numbers import PhoneNumber

NOT_IN_GROUP: Final = "This user is not a member of this group."
CONFLICT: Final = "This client_id already belongs to a different group. Use a new UUID per group."
BLOCKED_MEMBERS: Final = "You cannot make a group with somebody while one of you blocks the other."
BLOCKED_ROLE: Final = "You cannot make somebody an admin while one of you blocks the other."


async def create_group(
    database: Database,
    user_id: int,
    group_name: str,
    members: Sequence[str],
    *,
    client_id: str | None = None,
    admit: Admit | None = None,
) -> GroupInfo:
    """Make a group with the caller as admin.

    Args:
        database: where to write.
        user_id: who makes it.
        group_name: its name.
        members: usernames or E.164 numbers of the others; the caller may be among them; doubles count once.
        client_id: the caller's UUID for the group; a repeated call returns the group as it is now, without a seq.
        admit: counts the numbers among the members; raises RateLimited.

    Raises:
        IdempotencyConflict: the client_id was used for another name or other members.
        ValidationFailed: bad name, a client_id that is no UUID, more than 1,024 members, or a malformed member (path
            ``members[3]``).
        UserNotFound: a member has no account; `errors` names which.
        Blocked: a block stands between the caller and a member; `errors` names which.
        CannotBeAdded: a member's settings do not let the caller add them; `errors` names which.
    """
    name = check_name(group_name, "group_name")
    if len(members) > GROUP_MEMBERS_MAX:
        raise ValidationFailed.of("members", f"a group has at most {GROUP_MEMBERS_MAX} members")
    key = None if client_id is None else checks.check_client_id(client_id)
    checked = [_check_member(member, f"members[{number}]") for number, member in enumerate(members)]
    named = [(member,) if isinstance(member, str) else member.stored for member in checked]
    if admit is not None:
        # Apart from the transaction, which an unknown number would roll back.
        await admit([member for member in checked if not isinstance(member, str)])
    async with audited(database) as (connection, trail):
        group_id = await groups.draw_group_id(connection)
        if key is not None:
            request = GroupRequest(user_id, key, _content_hash(name, named), group_id)
            made = await claim(connection, request)
            if made.client_hash != request.client_hash:
                raise IdempotencyConflict(CONFLICT)
            if made.group_id != group_id:
                return await describe_to(connection, made.group_id, user_id)
        every = [key for forms in named for key in forms]
        known = await accounts.user_ids(connection, every, every)
        keys = [next((key for key in forms if key in known), "") for forms in named]
        unknown = [number for number, key in enumerate(keys) if not key]
        if unknown:
            raise UserNotFound(
                "Some members have no account.",
                errors=[FieldError(f"members[{number}]", "no user has this name or number") for number in unknown],
            )
        others = sorted({known[key] for key in keys} - {user_id})
        if len(others) + 1 > GROUP_MEMBERS_MAX:
            raise ValidationFailed.of("members", f"a group has at most {GROUP_MEMBERS_MAX} members, you included")
        blocked = await groups.blocked_with(connection, user_id, others)
        if blocked:
            raise Blocked(
                BLOCKED_MEMBERS,
                errors=[
                    FieldError(f"members[{number}]", "one of you has blocked the other")
                    for number, key in enumerate(keys)
                    if known[key] in blocked
                ],
            )
        closed = await not_addable(connection, user_id, others)
        if closed:
            raise CannotBeAdded(
                errors=[
                    FieldError(f"members[{number}]", "does not let you add them to groups")
                    for number, key in enumerate(keys)
                    if known[key] in closed
                ]
            )
        await groups.insert_group(connection, group_id, name, user_id, [user_id, *others])
        seq = await append_event(
            connection,
            trail.announcement,
            chat_id=group_id,
            sender_id=user_id,
            detail=GroupCreatedDetail(group_name=name, user_ids=others),
        )
        trail.announcement.members(group_id, [user_id, *others])
        await trail.add(act("group_created", user_id, group_id, members=len(others) + 1))
        return await describe(connection, group_id, seq)


def _content_hash(name: str, named: Iterable[Sequence[str]]) -> bytes:
    """Return a hash that distinguishes a retry from a different group; the order of members does not count."""
    return hashlib.sha256(msgspec.json.encode([name, sorted({forms[0] for forms in named})])).digest()


def _check_member(member: str, path: str) -> str | PhoneNumber:
    """Return the username key of a member, or their number; no key is the stored form of a number."""
    if is_number(check_addressee(member, path)):
        return check_phone_number(member, path)
    return username_key(check_known_username(member, path))


async def get_group(database: Database, user_id: int, group_id: int) -> GroupInfo:
    """Return a group to one of its members.

    Raises:
        ChatNotFound, NotAMember.
    """
    async with changing(database, user_id, group_id, "read", reads=True) as (connection, *_):
        return await describe(connection, group_id, None)


async def add_member(database: Database, user_id: int, group_id: int, member_id: int) -> GroupInfo:
    """Add a user to a group; adding a member again changes nothing. They read from here on.

    Raises:
        UserNotFound, ChatNotFound, NotAMember; NotAnAdmin: only admins may add; ValidationFailed: the group is full.
        Blocked: a block stands between the user and the caller, or an admin of the group.
        CannotBeAdded: the user's settings do not let the caller add them.
    """
    async with changing(database, user_id, group_id, "add") as (connection, group, _, trail):
        if not checks.is_id(member_id) or not await groups.user_exists(connection, member_id):
            raise UserNotFound
        there = await groups.membership(connection, group_id, member_id)
        if there is not None and there.left_seq is None:
            return await describe(connection, group_id, None)
        if await not_addable(connection, user_id, [member_id]):
            raise CannotBeAdded
        seq = await make_member(connection, group, trail, by=user_id, member_id=member_id, field="user_id")
        await trail.add(act("group_member_added", user_id, group_id, member_id=member_id))
        return await describe(connection, group_id, seq)


async def remove_member(database: Database, user_id: int, group_id: int, member_id: int) -> GroupInfo:
    """Remove a member, or leave (`member_id` is the caller). They can still read up to here. Again, it changes nothing.

    When the last admin leaves, the longest-standing member becomes admin.

    Raises:
        UserNotFound: never a member. ChatNotFound, NotAMember, NotAnAdmin.
    """
    leaves = member_id == user_id
    needs: Needs = "read" if leaves else "administer"
    async with changing(database, user_id, group_id, needs, former=leaves) as (connection, group, _, trail):
        there = await groups.membership(connection, group_id, member_id) if checks.is_id(member_id) else None
        if there is None:
            raise UserNotFound(NOT_IN_GROUP)
        if there.left_seq is not None:
            return await describe_to(connection, group_id, user_id)
        heir = None
        if there.role == "admin" and not await groups.other_admins(connection, group_id, member_id):
            heir = await groups.longest_standing(connection, group_id, member_id)
        if heir is not None:
            await groups.set_role(connection, group_id, heir, "admin")
            await append(connection, trail, group_id, user_id, MemberRoleDetail(user_ids=[heir], role="admin"))
            await trail.add(act("group_role_set", user_id, group_id, member_id=heir, role="admin"))
        event = MemberLeftDetail if leaves else MemberRemovedDetail
        seq = await append(connection, trail, group_id, user_id, event(user_ids=[member_id]))
        # The event of this change is the last row that they read.
        await groups.end_membership(connection, group_id, member_id, seq, group.fields)
        await invites.forget_of_others(connection, group_id)
        trail.announcement.members(group_id, [member_id])
        action = "group_left" if leaves else "group_member_removed"
        await trail.add(act(action, user_id, group_id, member_id=member_id))
        return await describe(connection, group_id, seq)


async def set_role(database: Database, user_id: int, group_id: int, member_id: int, role: Role) -> GroupInfo:
    """Make a member an admin, or an admin a member; the last admin stays one. The same role again changes nothing.

    Raises:
        UserNotFound: not a member. ValidationFailed: the last admin. ChatNotFound, NotAMember, NotAnAdmin.
        Blocked: the caller would make somebody an admin although one of the two blocks the other.
    """
    if role not in get_args(Role):
        raise ValidationFailed.of("role", "must be admin or member")
    # Who has made themselves a member may repeat it, though they are no admin any more.
    repeatable = member_id == user_id and role == "member"
    needs: Needs = "read" if repeatable else "administer"
    async with changing(database, user_id, group_id, needs) as (connection, _, _own, trail):
        there = await groups.membership(connection, group_id, member_id) if checks.is_id(member_id) else None
        if there is None or there.left_seq is not None:
            raise UserNotFound(NOT_IN_GROUP)
        seq = None
        if there.role != role:
            if role == "member" and not await groups.other_admins(connection, group_id, member_id):
                raise ValidationFailed.of("role", "the last admin stays one; make another member admin first")
            if role == "admin" and await groups.blocked_with(connection, user_id, [member_id]):
                raise Blocked(BLOCKED_ROLE)
            await groups.set_role(connection, group_id, member_id, role)
            await invites.forget_of_others(connection, group_id)
            seq = await append(connection, trail, group_id, user_id, MemberRoleDetail(user_ids=[member_id], role=role))
            await trail.add(act("group_role_set", user_id, group_id, member_id=member_id, role=role))
        return await describe(connection, group_id, seq)
