"""Users and members as a viewer sees them: what `chatserver.visibility` hides from the viewer is null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from chatserver.bounds import GivenId, GivenSeq  # noqa: TC001 - msgspec reads the annotations
from chatserver.model import Role  # noqa: TC001 - msgspec reads the annotations
from chatserver.times import rfc3339, rfc3339_or_none
from chatserver.visibility import crosses_block, may_see

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.model import Member, User
    from chatserver.visibility import Datum, Relation


class UserView(TypedDict):
    """A profile; what the caller may not see is null (`chatserver.visibility`)."""

    user_id: GivenId
    username: str | None
    profile_picture_url: str | None
    about: str | None
    created_at: str | None
    last_seen: str | None
    phone_number: str | None


class MemberView(TypedDict):
    """A current member of a chat and their watermarks, which are null where the viewer may not see them."""

    user_id: GivenId
    username: str | None
    role: Role
    delivered_seq: GivenSeq | None
    read_seq: GivenSeq | None


def view_user(user: User, relation: Relation) -> UserView:
    """Return a profile as a viewer with this relation sees it."""

    def shown(datum: Datum, value: str | None) -> str | None:
        return value if may_see(datum, relation) else None

    return {
        "user_id": user.user_id,
        "username": shown("name", user.username),
        "profile_picture_url": shown("picture", user.profile_picture_url),
        "about": shown("about", user.about),
        "created_at": shown("created_at", rfc3339(user.created_at_us)),
        "last_seen": shown("last_seen", rfc3339_or_none(user.last_seen_us)),
        "phone_number": shown("number" if user.username else "number_as_name", user.phone_number),
    }


def view_members(members: Sequence[Member], user_id: int) -> list[MemberView]:
    """Return members and their watermarks as one of them sees them."""
    barred = barred_from(members, user_id)
    # A list, not a generator, as in barred_from.
    hides_read = bool([member for member in members if member.hides_read and member.user_id == user_id])
    return [
        {
            "user_id": member.user_id,
            "username": member.username,
            "role": member.role,
            "delivered_seq": None if member.user_id in barred else member.delivered_seq,
            "read_seq": None
            if member.user_id in barred or (hides_read and member.user_id != user_id)
            else member.read_seq,
        }
        for member in members
    ]


_RECEIPTS_CROSS_BLOCKS: Final = crosses_block("receipts")


def barred_from(members: Sequence[Member], user_id: int) -> frozenset[int]:
    """Return the members whose receipts one of them may not see."""
    # A list, not a generator: a sync calls this for each chat, and in nearly all of them nobody blocks anybody.
    if _RECEIPTS_CROSS_BLOCKS or not [member for member in members if member.blocks]:
        return frozenset()
    others = {member.user_id for member in members if user_id in member.blocks}
    return frozenset(others.union(*(member.blocks for member in members if member.user_id == user_id))) - {user_id}
