"""Domain types as the JSON that clients see: one shape for REST and WebSocket. Rows are in row_views.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import msgspec

from chatserver.bounds import GivenId, GivenSeq  # noqa: TC001 - msgspec reads the annotations
from chatserver.messaging.group_views import ChatGroupView, view_fields
from chatserver.messaging.row_views import RowView, view_or_none
from chatserver.model import (  # noqa: TC001 - msgspec reads the annotations
    ChatKind,
    Status,
)
from chatserver.times import rfc3339, rfc3339_or_none
from chatserver.users.viewers import MemberView, view_members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.messaging.stars import Star
    from chatserver.model import (
        Change,
        Chat,
        ChatSettings,
        Device,
        Member,
        SentMessage,
    )
    from chatserver.storage.message_info import MemberTimes


class SentView(TypedDict):
    """The answer to a send: the message is committed."""

    message_id: GivenId
    chat_id: GivenId
    seq: GivenSeq
    status: Status
    created_at: str
    duplicate: bool
    client_id: str


class ChangeView(TypedDict):
    """The row of a change, and its chat; `seq` is null when nothing changed."""

    chat_id: GivenId
    seq: GivenSeq | None


class DeviceView(TypedDict):
    """A signed-in device; `current` is that of the caller."""

    device_id: GivenId
    device_name: str | None
    created_at: str
    last_used_at: str
    expires_at: str
    current: bool


class SettingsView(TypedDict):
    """What a user has set for a chat; `pinned_at` is null while it is not pinned."""

    muted_until: str | None
    pinned_at: str | None
    archived: bool
    marked_unread: bool


class ChatView(ChatGroupView, SettingsView):
    """A chat as one of its members sees it; in a list, `members` are 50 at most, the caller among them."""

    chat_id: GivenId
    kind: ChatKind
    last_seq: GivenSeq
    last_at: str
    last_message: RowView | None
    unread: int
    left: bool
    member_count: int
    members: list[MemberView]
    disappear_after: int | None


class StarView(TypedDict):
    """A message that the caller has starred."""

    starred_at: str
    message: RowView


class MemberTimesView(TypedDict):
    """When a member received and read a message; null: not yet, or not for the caller to see."""

    user_id: GivenId
    delivered_at: str | None
    read_at: str | None


class SyncedChatView(TypedDict):
    """The state of a chat at the end of a sync; `members` is null where they are too many."""

    chat_id: GivenId
    last_seq: GivenSeq
    members: list[MemberView] | None


def view_sent(sent: SentMessage) -> SentView:
    """Return the answer to a send."""
    return {
        "message_id": sent.message_id,
        "chat_id": sent.chat_id,
        "seq": sent.seq,
        "status": "sent",
        "created_at": rfc3339(sent.created_at_us),
        "duplicate": sent.duplicate,
        "client_id": sent.client_id,
    }


def view_change(change: Change) -> ChangeView:
    """Return the answer to a change of a message or a block."""
    return {"chat_id": change.chat_id, "seq": change.seq}


def view_device(device: Device, *, current_device_id: int) -> DeviceView:
    """Return a signed-in device."""
    return {
        "device_id": device.device_id,
        "device_name": device.device_name,
        "created_at": rfc3339(device.created_at_us),
        "last_used_at": rfc3339(device.last_used_us),
        "expires_at": rfc3339(device.expires_at_us),
        "current": device.device_id == current_device_id,
    }


def view_synced(chat_id: int, last_seq: int, members: Sequence[Member] | None, user_id: int) -> msgspec.Raw:
    """Return a ``SyncedChatView`` as a member sees it, encoded."""
    view: SyncedChatView = {
        "chat_id": chat_id,
        "last_seq": last_seq,
        "members": None if members is None else view_members(members, user_id),
    }
    return msgspec.Raw(msgspec.json.encode(view))


def view_settings(settings: ChatSettings) -> SettingsView:
    """Return what a user has set for a chat."""
    return {
        "muted_until": rfc3339_or_none(settings.muted_until_us),
        "pinned_at": rfc3339_or_none(settings.pinned_at_us),
        "archived": settings.archived,
        "marked_unread": settings.marked_unread,
    }


def view_star(star: Star) -> StarView | None:
    """Return a starred message; None when it cannot be rendered, which is logged and counted."""
    row = view_or_none(star.row)
    return None if row is None else {"starred_at": rfc3339(star.starred_at_us), "message": row}


def view_times(member: MemberTimes) -> MemberTimesView:
    """Return when a member received and read a message."""
    return {
        "user_id": member.user_id,
        "delivered_at": rfc3339_or_none(member.delivered_at_us),
        "read_at": rfc3339_or_none(member.read_at_us),
    }


def view_chat(chat: Chat, user_id: int) -> ChatView:
    """Return a chat as its member sees it."""
    return {
        "chat_id": chat.chat_id,
        "kind": chat.kind,
        **view_fields(chat.group),
        "last_seq": chat.last_seq,
        "last_at": rfc3339(chat.last_at_us),
        "last_message": None if chat.last_message is None else view_or_none(chat.last_message),
        "unread": chat.unread,
        "left": chat.left,
        "member_count": chat.member_count,
        "members": view_members(chat.members, user_id),
        "disappear_after": chat.disappear_after,
        **view_settings(chat.settings),
    }
