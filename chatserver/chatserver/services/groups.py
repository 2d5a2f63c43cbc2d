"""Groups: create, rename, members and roles. Each change is one event in the chat, in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.model import GroupInfo, Role
    from chatserver.storage.database import Database


async def create_group(database: Database, user_id: int, group_name: str, members: Sequence[str]) -> GroupInfo:
    """Make a group with the caller as admin.

    Args:
        members: usernames or E.164 numbers of the others; the caller may be among them; doubles count once.

    Raises:
        ValidationFailed: bad name, more than 1,024 members, or a malformed member (path ``members[3]``).
        UserNotFound: a member has no account; `errors` names which.
    """
    raise NotImplementedError


async def rename_group(database: Database, user_id: int, group_id: int, group_name: str) -> GroupInfo:
    """Rename a group; the same name again changes nothing.

    Raises:
        ValidationFailed, ChatNotFound, NotAMember, NotAnAdmin.
    """
    raise NotImplementedError


async def add_member(database: Database, user_id: int, group_id: int, member_id: int) -> GroupInfo:
    """Add a user to a group; adding a member again changes nothing. They read from here on.

    Raises:
        UserNotFound, ChatNotFound, NotAMember, NotAnAdmin; ValidationFailed: the group is full; Blocked.
    """
    raise NotImplementedError


async def remove_member(database: Database, user_id: int, group_id: int, member_id: int) -> GroupInfo:
    """Remove a member, or leave (`member_id` is the caller). They can still read up to here.

    When the last admin leaves, the longest-standing member becomes admin.

    Raises:
        UserNotFound: not a member. ChatNotFound, NotAMember, NotAnAdmin.
    """
    raise NotImplementedError


async def set_role(database: Database, user_id: int, group_id: int, member_id: int, role: Role) -> GroupInfo:
    """Make a member an admin, or an admin a member; the last admin stays one.

    Raises:
        UserNotFound: not a member. ValidationFailed: the last admin. ChatNotFound, NotAMember, NotAnAdmin.
    """
    raise NotImplementedError
