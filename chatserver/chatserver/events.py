"""What rows of other kinds than `message` record: a type for each event, which is the row's `detail` for clients.

The table is EVENTS. Services append an event as an object of one of these types, and the published documents and
docs/protocol.md describe them. ``detail.event`` is the type's tag: the row's kind, with ``.`` and ``detail.action``
where events of a kind have actions.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec

from chatserver.bounds import (  # noqa: TC001 - msgspec reads the annotations at run time
    GivenId,
    GivenSeq,
    TimerSeconds,
)
from chatserver.group_fields import Who  # noqa: TC001 - msgspec reads the annotations at run time
from chatserver.model import Role  # noqa: TC001 - msgspec reads the annotations at run time
from chatserver.visibility import Audience  # noqa: TC001 - msgspec reads the annotations at run time


class EventDetail(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """What an event says beyond the columns that all rows have."""


class EditDetail(EventDetail, frozen=True, kw_only=True, tag="edit"):
    """The message `target_seq` has another text."""


class DeleteDetail(EventDetail, frozen=True, kw_only=True, tag="delete"):
    """The message `target_seq` was deleted for everyone."""


class ReactionAddedDetail(EventDetail, frozen=True, kw_only=True, tag="reaction.added"):
    """The user's only reaction to the message `target_seq`."""

    action: Literal["added"] = "added"
    emoji: str


class ReactionRemovedDetail(EventDetail, frozen=True, kw_only=True, tag="reaction.removed"):
    """The user has no reaction to the message `target_seq` any more."""

    action: Literal["removed"] = "removed"
    emoji: str


class GroupCreatedDetail(EventDetail, frozen=True, kw_only=True, tag="group.created"):
    """A group was created; `user_ids` are its first members beside the creator."""

    action: Literal["created"] = "created"
    group_name: str
    user_ids: list[GivenId]


class GroupRenamedDetail(EventDetail, frozen=True, kw_only=True, tag="group.renamed"):
    """A group has another name."""

    action: Literal["renamed"] = "renamed"
    group_name: str


class GroupChangedDetail(EventDetail, frozen=True, kw_only=True, tag="group.changed"):
    """All fields of a group but its name, as they are from here on."""

    action: Literal["changed"] = "changed"
    picture_url: str | None
    description: str | None
    who_may_send: Who
    who_may_edit: Who
    who_may_add: Who


class MemberAddedDetail(EventDetail, frozen=True, kw_only=True, tag="member.added"):
    """A member has added users to the group, or users have joined it."""

    action: Literal["added"] = "added"
    user_ids: list[GivenId]


class MemberRemovedDetail(EventDetail, frozen=True, kw_only=True, tag="member.removed"):
    """An admin has removed users from the group."""

    action: Literal["removed"] = "removed"
    user_ids: list[GivenId]


class MemberLeftDetail(EventDetail, frozen=True, kw_only=True, tag="member.left"):
    """Users have left the group."""

    action: Literal["left"] = "left"
    user_ids: list[GivenId]


class MemberRoleDetail(EventDetail, frozen=True, kw_only=True, tag="member.role"):
    """Users have another role in the group."""

    action: Literal["role"] = "role"
    user_ids: list[GivenId]
    role: Role


class TimerDetail(EventDetail, frozen=True, kw_only=True, tag="timer"):
    """Messages of the chat that are sent from here on disappear after so many seconds; null: they stay."""

    seconds: TimerSeconds | None


class ExpireDetail(EventDetail, frozen=True, kw_only=True, tag="expire"):
    """The messages of a range of rows have disappeared, and so have the rows about them."""

    from_seq: GivenSeq
    up_to_seq: GivenSeq


class HideDetail(EventDetail, frozen=True, kw_only=True, tag="hide"):
    """The row `target_seq` of a chat is deleted for the user, and so are the rows about it."""

    target_chat_id: GivenId


class ClearDetail(EventDetail, frozen=True, kw_only=True, tag="clear"):
    """All rows of a chat up to `target_seq` are deleted for the user."""

    target_chat_id: GivenId


class SettingsDetail(EventDetail, frozen=True, kw_only=True, tag="settings"):
    """All settings of a chat, as they are from here on."""

    target_chat_id: GivenId
    muted_until: str | None
    pinned_at: str | None
    archived: bool
    marked_unread: bool


class StarAddedDetail(EventDetail, frozen=True, kw_only=True, tag="star.added"):
    """The user has starred the row `target_seq` of a chat."""

    action: Literal["added"] = "added"
    target_chat_id: GivenId


class StarRemovedDetail(EventDetail, frozen=True, kw_only=True, tag="star.removed"):
    """The row `target_seq` of a chat is not starred any more."""

    action: Literal["removed"] = "removed"
    target_chat_id: GivenId


class BlockBlockedDetail(EventDetail, frozen=True, kw_only=True, tag="block.blocked"):
    """The user has blocked others."""

    action: Literal["blocked"] = "blocked"
    user_ids: list[GivenId]


class BlockUnblockedDetail(EventDetail, frozen=True, kw_only=True, tag="block.unblocked"):
    """The user's block of others was removed."""

    action: Literal["unblocked"] = "unblocked"
    user_ids: list[GivenId]


class ProfileDetail(EventDetail, frozen=True, kw_only=True, tag="profile"):
    """Fields of the user's profile changed: fetch them."""

    fields: list[str]


class PrivacyDetail(EventDetail, frozen=True, kw_only=True, tag="privacy"):
    """The user's settings of who sees their data, as they are from here on."""

    last_seen: Audience
    picture: Audience
    about: Audience
    groups: Audience
    read_receipts: bool


class SignInSignedInDetail(EventDetail, frozen=True, kw_only=True, tag="sign_in.signed_in"):
    """A device of the user signed in."""

    action: Literal["signed_in"] = "signed_in"
    device_id: GivenId


class SignInCodeRefusedDetail(EventDetail, frozen=True, kw_only=True, tag="sign_in.code_refused"):
    """Somebody tried a wrong code for the user's number."""

    action: Literal["code_refused"] = "code_refused"


class SignInPinSetDetail(EventDetail, frozen=True, kw_only=True, tag="sign_in.pin_set"):
    """The user's sign-ins need a PIN from here on, or another one."""

    action: Literal["pin_set"] = "pin_set"


class SignInPinRemovedDetail(EventDetail, frozen=True, kw_only=True, tag="sign_in.pin_removed"):
    """The user's sign-ins need no PIN from here on."""

    action: Literal["pin_removed"] = "pin_removed"


class SignInPinRefusedDetail(EventDetail, frozen=True, kw_only=True, tag="sign_in.pin_refused"):
    """Somebody who has a code for the user's number, or one of their devices, tried a wrong PIN."""

    action: Literal["pin_refused"] = "pin_refused"


AnyDetail = (
    EditDetail
    | DeleteDetail
    | ReactionAddedDetail
    | ReactionRemovedDetail
    | GroupCreatedDetail
    | GroupRenamedDetail
    | GroupChangedDetail
    | MemberAddedDetail
    | MemberRemovedDetail
    | MemberLeftDetail
    | MemberRoleDetail
    | TimerDetail
    | ExpireDetail
    | HideDetail
    | ClearDetail
    | SettingsDetail
    | StarAddedDetail
    | StarRemovedDetail
    | BlockBlockedDetail
    | BlockUnblockedDetail
    | ProfileDetail
    | PrivacyDetail
    | SignInSignedInDetail
    | SignInCodeRefusedDetail
    | SignInPinSetDetail
    | SignInPinRemovedDetail
    | SignInPinRefusedDetail
)

EVENTS: Final[dict[str, type[EventDetail]]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyDetail)}
"""The type of each event by its tag."""


def kind_of(detail: EventDetail) -> str:
    """Return the kind of the row that records an event.

    Example:
        >>> kind_of(MemberAddedDetail(user_ids=[7]))
        'member'
    """
    return str(detail.__struct_config__.tag).partition(".")[0]


def stored_detail(detail: EventDetail) -> dict[str, Any] | None:
    """Return what is stored of an event beside its kind; None: nothing.

    Example:
        >>> stored_detail(MemberAddedDetail(user_ids=[7])), stored_detail(EditDetail())
        ({'action': 'added', 'user_ids': [7]}, None)
    """
    return msgspec.structs.asdict(detail) or None


def shown_detail(kind: str, stored: dict[str, Any] | None) -> dict[str, Any]:
    """Return the `detail` of a row of another kind than `message` for clients.

    Members are passed on as they are stored: a server of a later version may have stored events that this one does
    not know.

    Example:
        >>> shown_detail("member", {"action": "added", "user_ids": [7]})
        {'event': 'member.added', 'action': 'added', 'user_ids': [7]}
    """
    members = stored or {}
    action = members.get("action")
    return {"event": kind if action is None else f"{kind}.{action}", **members}
