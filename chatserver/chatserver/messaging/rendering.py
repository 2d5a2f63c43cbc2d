"""Domain types as the JSON that clients see: one shape for REST and WebSocket, each row encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import msgspec

from chatserver.bounds import GivenId, GivenSeq  # noqa: TC001 - msgspec reads the annotations
from chatserver.model import (  # noqa: TC001 - msgspec reads the annotations
    ChatKind,
    EventKind,
    MessageType,
    Reaction,
    Status,
)
from chatserver.protocol import Message, encode_frame
from chatserver.supervision import caught
from chatserver.times import MICROSECONDS, rfc3339, rfc3339_or_none
from chatserver.users.viewers import MemberView, view_members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.messaging.stars import Star
    from chatserver.model import (
        Change,
        Chat,
        ChatSettings,
        Device,
        GroupInfo,
        Member,
        MessageRow,
        SentMessage,
    )
    from chatserver.storage.message_info import MemberTimes
    from chatserver.storage.messages import AppendResult, NewMessage


class RowView(msgspec.Struct, frozen=True, rename={"from_name": "from"}):
    """A row as in ``GET /api/messages``, histories and ``message`` frames."""

    message_id: GivenId
    chat_id: GivenId
    seq: GivenSeq
    kind: EventKind
    from_name: str
    from_id: GivenId
    to: str | None
    text: str | None
    type: MessageType
    media_url: str | None
    timestamp: int
    created_at: str
    status: Status
    client_id: str
    reply_to: GivenSeq | None = None
    target_seq: GivenSeq | None = None
    detail: dict[str, Any] | None = None
    edited_at: str | None = None
    deleted_at: str | None = None
    reactions: tuple[Reaction, ...] = ()


class EventFrame(TypedDict):
    """A row of another kind than ``message``; the members of its ``detail`` stand beside these."""

    type: Literal["event"]
    chat_id: GivenId
    seq: GivenSeq
    kind: EventKind
    by: int
    at: str
    target_seq: NotRequired[GivenSeq]
    text: NotRequired[str]


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


class ChatView(SettingsView):
    """A chat as one of its members sees it; in a list, `members` are 50 at most, the caller among them."""

    chat_id: GivenId
    kind: ChatKind
    group_name: str | None
    last_seq: GivenSeq
    last_at: str
    last_message: RowView | None
    unread: int
    left: bool
    member_count: int
    members: list[MemberView]


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


class GroupView(TypedDict):
    """A group; `seq` is the row of the change, null when nothing changed."""

    group_id: GivenId
    chat_id: GivenId
    group_name: str
    created_by: GivenId
    created_at: str
    members: list[MemberView]
    seq: GivenSeq | None


def view_row(row: MessageRow) -> RowView:
    """Return a row as clients see it."""
    return RowView(
        message_id=row.message_id,
        chat_id=row.chat_id,
        seq=row.seq,
        kind=row.kind,
        from_name=row.from_name,
        from_id=row.from_id,
        to=row.to,
        text=row.text,
        type=row.type,
        media_url=row.media_url,
        timestamp=row.created_at_us // MICROSECONDS,
        created_at=rfc3339(row.created_at_us),
        status=row.status,
        client_id=row.client_id,
        reply_to=row.reply_to,
        target_seq=row.target_seq,
        detail=row.detail,
        # Nearly all rows have neither, and each row of a sync comes by here.
        edited_at=None if row.edited_at_us is None else rfc3339(row.edited_at_us),
        deleted_at=None if row.deleted_at_us is None else rfc3339(row.deleted_at_us),
        reactions=row.reactions,
    )


def view_or_none(row: MessageRow) -> RowView | None:
    """Return a row as ``view_row`` does; None when it cannot be rendered, which is logged and counted."""
    try:
        return view_row(row)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a row, it is wrong with this row alone
        caught("row_not_rendered", error, chat_id=row.chat_id, seq=row.seq)
        return None


def frame_of_row(row: MessageRow) -> bytes:
    """Encode a row as a ``message`` frame, or as an ``event`` frame when it is of another kind."""
    if row.kind == "message":
        return encode_frame(Message(view_row(row)))
    event = {
        **(row.detail or {}),
        "type": "event",
        "chat_id": row.chat_id,
        "seq": row.seq,
        "kind": row.kind,
        "by": row.from_id,
        "at": rfc3339(row.created_at_us),
    }
    if row.target_seq is not None:
        event["target_seq"] = row.target_seq
    if row.text is not None:
        event["text"] = row.text
    return msgspec.json.encode(event)


def frame_of_stored(message: NewMessage, result: AppendResult, status: Status = "sent") -> bytes:
    """Encode a message that has just been stored as its ``message`` frame: nobody has got it yet, or changed it."""
    created_at_us = result.created_at_us or 0
    view = RowView(
        message_id=result.message_id or 0,
        chat_id=message.chat_id,
        seq=result.seq or 0,
        kind="message",
        from_name=result.from_name,
        from_id=message.sender_id,
        to=result.to_name,
        text=message.text,
        type=message.message_type,
        media_url=message.media_url,
        timestamp=created_at_us // MICROSECONDS,
        created_at=rfc3339(created_at_us),
        status=status,
        client_id=message.client_id,
        reply_to=message.reply_to,
    )
    return encode_frame(Message(view))


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
        "group_name": chat.group_name,
        "last_seq": chat.last_seq,
        "last_at": rfc3339(chat.last_at_us),
        "last_message": None if chat.last_message is None else view_or_none(chat.last_message),
        "unread": chat.unread,
        "left": chat.left,
        "member_count": chat.member_count,
        "members": view_members(chat.members, user_id),
        **view_settings(chat.settings),
    }


def view_group(group: GroupInfo, user_id: int) -> GroupView:
    """Return a group with its members as one of them sees it."""
    return {
        "group_id": group.group_id,
        "chat_id": group.chat_id,
        "group_name": group.group_name,
        "created_by": group.created_by,
        "created_at": rfc3339(group.created_at_us),
        "members": view_members(group.members, user_id),
        "seq": group.seq,
    }
