"""Groups as the JSON that their members see."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver.bounds import GivenId, GivenSeq  # noqa: TC001 - msgspec reads the annotations
from chatserver.group_fields import Who  # noqa: TC001 - msgspec reads the annotations
from chatserver.times import rfc3339
from chatserver.users.viewers import MemberView, view_members

if TYPE_CHECKING:
    from chatserver.group_fields import GroupFields
    from chatserver.model import GroupInfo


class ChatGroupView(TypedDict):
    """What a chat has that is a group: all null in other chats."""

    group_name: str | None
    picture_url: str | None
    description: str | None
    who_may_send: Who | None
    who_may_edit: Who | None
    who_may_add: Who | None


class GroupView(TypedDict):
    """A group; `seq` is the row of the change, null when nothing changed."""

    group_id: GivenId
    chat_id: GivenId
    group_name: str
    picture_url: str | None
    description: str | None
    who_may_send: Who
    who_may_edit: Who
    who_may_add: Who
    created_by: GivenId
    created_at: str
    members: list[MemberView]
    seq: GivenSeq | None


def view_fields(fields: GroupFields | None) -> ChatGroupView:
    """Return what a chat has that is a group; None: it is none."""
    return {
        "group_name": None if fields is None else fields.group_name,
        "picture_url": None if fields is None else fields.picture_url,
        "description": None if fields is None else fields.description,
        "who_may_send": None if fields is None else fields.who_may_send,
        "who_may_edit": None if fields is None else fields.who_may_edit,
        "who_may_add": None if fields is None else fields.who_may_add,
    }


def view_group(group: GroupInfo, user_id: int) -> GroupView:
    """Return a group with its members as one of them sees it."""
    fields = group.fields
    return {
        "group_id": group.group_id,
        "chat_id": group.chat_id,
        "group_name": fields.group_name,
        "picture_url": fields.picture_url,
        "description": fields.description,
        "who_may_send": fields.who_may_send,
        "who_may_edit": fields.who_may_edit,
        "who_may_add": fields.who_may_add,
        "created_by": group.created_by,
        "created_at": rfc3339(group.created_at_us),
        "members": view_members(group.members, user_id),
        "seq": group.seq,
    }
