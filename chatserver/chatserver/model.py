"""The domain as frozen types: users, chats, messages, receipts.

They are msgspec Structs and not dataclasses: a frozen Struct is made about ten times faster than a frozen slots
dataclass (one is made for each row of each fan-out), and the same type encodes to JSON without a second model.
Times are integers of microseconds since 1970 (``*_us``): exact, ordered, free of time zones.
"""

from __future__ import annotations

from typing import Any, Final, Literal, LiteralString

import msgspec

from chatserver import bounds  # noqa: TC001 - msgspec reads the annotations at run time
from chatserver.group_fields import GroupFields  # noqa: TC001 - msgspec reads the annotations at run time

DELETED_NAME: Final[LiteralString] = "deleted user"
"""What rows of a deleted account have for a name; no username has a space in it."""

ChatKind = Literal["direct", "group", "self"]
EventKind = Literal[
    "message", "edit", "delete", "reaction", "member", "group",
    "hide", "block", "profile", "sign_in", "settings", "clear", "star", "privacy", "timer", "expire",
]  # fmt: skip
MessageType = Literal["text", "image", "video", "audio", "document"]
Role = Literal["admin", "member"]
Status = Literal["sent", "delivered", "read"]


class Principal(msgspec.Struct, frozen=True):
    """Who is calling: a user on one of their devices.

    Attributes:
        is_probe: it is the chat's probe, which may do nothing else.
    """

    user_id: int
    device_id: int
    is_probe: bool = False


class User(msgspec.Struct, frozen=True):
    """An account.

    Attributes:
        username: as its owner wrote it; unique without regard to case; None when never set.
        about: what its owner says about themselves.
    """

    user_id: int
    phone_number: str
    username: str | None
    profile_picture_url: str | None
    about: str | None
    created_at_us: int
    last_seen_us: int | None


class Device(msgspec.Struct, frozen=True):
    """One signed-in device of a user."""

    device_id: int
    device_name: str | None
    created_at_us: int
    last_used_us: int
    expires_at_us: int


class SignIn(msgspec.Struct, frozen=True):
    """A fresh sign-in; the only place where the token exists in the clear."""

    token: str
    device_id: int
    user: User


class CodeRequest(msgspec.Struct, frozen=True):
    """A sign-in code that was made.

    Attributes:
        phone_number: E.164 form of the requested number.
        code: six digits, for the sender alone. Only the sender `Log` may show it in an answer.
        expires_in_seconds: how long it is good.
        code_id: the requester's secret, to which the code is bound.
    """

    phone_number: str
    code: str
    expires_in_seconds: int
    code_id: str


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a message: what a retry repeats.

    Attributes:
        message_type: named `type` by REST; in a WebSocket frame that is the frame's own.
        reply_to: seq of the message in the same chat that it answers.
    """

    text: bounds.Text | None = None
    message_type: MessageType = "text"
    media_url: bounds.Url | None = None
    reply_to: bounds.Id | None = None


class SendMessage(Content, frozen=True, kw_only=True):
    """A message as a client sends it, not validated yet, to exactly one of `to` and `chat_id`.

    The body of ``POST /api/messages`` and the frame ``send`` are this type; ``check_message`` turns it into a
    ``NewMessage``.

    Attributes:
        to: username, or phone number in E.164 form.
        client_id: the client's UUID for this message; None: the server makes one, and a retry is a new message.
        timestamp: the client's own clock in Unix seconds: stored, never used for order.
    """

    to: bounds.Recipient | None = None
    chat_id: bounds.Id | None = None
    client_id: bounds.ClientId | None = None
    timestamp: bounds.Timestamp | None = None


class SentMessage(msgspec.Struct, frozen=True):
    """The durable result of a send; the transaction has been committed.

    Attributes:
        duplicate: this client_id was stored before; the other fields are those of the first time.
    """

    message_id: int
    chat_id: int
    seq: int
    client_id: str
    created_at_us: int
    duplicate: bool


class Reaction(msgspec.Struct, frozen=True):
    """Who reacted to a message with an emoji; ids ascending."""

    emoji: str
    user_ids: tuple[int, ...]


class MessageRow(msgspec.Struct, frozen=True):
    """One row of a chat's history: a message, or another event. The same for every reader.

    Attributes:
        kind: `message` rows are those of ``GET /api/messages``; the others become `event` frames.
        target_seq: the row of this chat that an edit, delete or reaction is about; of a `hide`, `clear` or `star`,
            which is in the user's own chat, a row of the chat ``detail["target_chat_id"]``.
        from_id: who sent it or did it.
        from_name: their username, else their phone number (the API's `from`).
        to: in a direct chat the other one's username, else phone number; None in groups.
        text: None when there is none, or when it was deleted for everyone. Of an edit, its target's text as it is now:
            what was deleted or replaced lives on nowhere.
        reply_to: seq of the message it answers.
        detail: what an event says beyond that, such as ``{"action": "added", "user_ids": [7]}``; None for messages.
        status: the least over all current members but the sender: sent, delivered or read.
        client_id: the sender's UUID for it.
        client_timestamp_us: the time of the sender's own clock, if the client sent it.
        edited_at_us: when it was last edited.
        deleted_at_us: when it was deleted for everyone.
        reactions: one a user, by emoji.
    """

    chat_id: int
    seq: int
    kind: EventKind
    target_seq: int | None
    message_id: int
    from_id: int
    from_name: str
    to: str | None
    text: str | None
    type: MessageType
    media_url: str | None
    reply_to: int | None
    detail: dict[str, Any] | None
    created_at_us: int
    status: Status
    client_id: str
    client_timestamp_us: int | None = None
    edited_at_us: int | None = None
    deleted_at_us: int | None = None
    reactions: tuple[Reaction, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """The event that a change made, and its chat; `seq` is None when nothing changed."""

    chat_id: int
    seq: int | None


class Member(msgspec.Struct, frozen=True):
    """A current member of a chat with their watermarks.

    Attributes:
        blocks: members of the same chat who are blocked from this one; each pair is listed with one of the two.
        hides_read: does not show what they have read, and is not shown what others have. Where one member alone sees
            this, it is only set for that one.
    """

    user_id: int
    username: str | None
    role: Role
    delivered_seq: int
    read_seq: int
    blocks: tuple[int, ...] = ()
    hides_read: bool = False


class ChatSettings(msgspec.Struct, frozen=True):
    """What a user has set for a chat: the same on all of their devices, and nobody else's to see.

    Attributes:
        muted_until_us: until when devices show no notifications.
        pinned_at_us: since when the chat is at the top of the list; None: it is not.
        marked_unread: the user has marked it, whatever they have read.
    """

    muted_until_us: int | None = None
    pinned_at_us: int | None = None
    archived: bool = False
    marked_unread: bool = False


class Chat(msgspec.Struct, frozen=True):
    """A chat as one of its members sees it.

    Attributes:
        group: None unless a group; of a former member's, as it was when they left.
        last_seq: the newest row this user may see (a former member: the row of their leaving).
        last_at_us: when that chat last changed; the order of the list.
        unread: messages (not events) of others after this user's read_seq.
        left: this user is a former member.
        member_count: how many current members there are; 0 for a former member.
        members: current members, in a list of chats perhaps not all of them.
        disappear_after: seconds after which messages that are sent now go; None: they stay, or the user has left.
    """

    chat_id: int
    kind: ChatKind
    group: GroupFields | None
    last_seq: int
    last_at_us: int
    last_message: MessageRow | None
    unread: int
    left: bool
    member_count: int
    members: tuple[Member, ...]
    settings: ChatSettings = ChatSettings()
    disappear_after: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Rows of all chats of a user, oldest first, and the cursor of the next page.

    Attributes:
        next_since: opaque; with it the next call continues exactly here. Always present, on an empty page too.
        more: the page is full; more rows are there at once (a long poll need not wait).
    """

    rows: tuple[MessageRow, ...]
    next_since: str
    more: bool


class GroupInfo(msgspec.Struct, frozen=True):
    """A group, its members, and the seq of the event that the call made (None if it changed nothing)."""

    group_id: int
    chat_id: int
    fields: GroupFields
    created_by: int
    created_at_us: int
    members: tuple[Member, ...]
    seq: int | None = None


class ReceiptMark(msgspec.Struct, frozen=True):
    """How far a client says it got and read a chat."""

    delivered_seq: int | None = None
    read_seq: int | None = None


class MemberWatermarks(msgspec.Struct, frozen=True):
    """The watermarks of one member of a chat."""

    chat_id: int
    user_id: int
    delivered_seq: int
    read_seq: int


class SeqRange(msgspec.Struct, frozen=True, array_like=True):
    """Rows first_seq to last_seq, both included, of one chat."""

    chat_id: int
    first_seq: int
    last_seq: int


class Delivery(msgspec.Struct, frozen=True):
    """One row, and which of the given users may see it."""

    row: MessageRow
    user_ids: tuple[int, ...]


class SyncedChat(msgspec.Struct, frozen=True):
    """Where a chat stands, for the `synced` frame; `members` is None where there are too many to list."""

    chat_id: int
    last_seq: int
    members: tuple[Member, ...] | None


class SyncResult(msgspec.Struct, frozen=True):
    """What a client missed.

    Attributes:
        rows: oldest first within each chat, without holes after the client's have_seq.
        chats: the user's chats (the most recently active ones, bounded).
        more: the rows were cut off; sync again with the new have_seq values for the rest.
    """

    rows: tuple[MessageRow, ...]
    chats: tuple[SyncedChat, ...]
    more: bool
