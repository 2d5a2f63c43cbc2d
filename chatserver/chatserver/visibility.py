"""Decides what a viewer may see of a user, for every call and every frame.

A decision is a look-up: what the viewer is to the user (`Relation`, which `storage.relations` reads), and the row of
the datum in `RULES`. A new datum needs a row there, and code that shows it calls `may_see`. docs/decisions/0047 gives
the reasons.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Audience = Literal["everyone", "contacts", "nobody"]
"""To whom a user shows something, of those whom `RULES` allow: all of them, the user's contacts, or none.

The contacts of a user are those to whom the user has written in a direct chat.
"""

Datum = Literal[
    "name",
    "number",
    "number_as_name",
    "picture",
    "about",
    "created_at",
    "online",
    "last_seen",
    "profile_changes",
    "typing",
    "receipts",
]

Standing = Literal["shares_chat", "former", "found_by_number", "found_by_name"]
"""The relation of a viewer to a user. A viewer in none of these is a stranger and sees nothing."""

FoundBy = Literal["number", "name"]
"""How the caller identified the user in this call."""


class Privacy(msgspec.Struct, frozen=True):
    """To whom a user shows their data, and who may add them to groups.

    Attributes:
        last_seen: also for whether they are online.
        groups: who may add them.
        read_receipts: whether others see what they have read, and they what others have.
    """

    last_seen: Audience = "everyone"
    picture: Audience = "everyone"
    about: Audience = "everyone"
    groups: Audience = "everyone"
    read_receipts: bool = True


class Relation(msgspec.Struct, frozen=True):
    """The relation of a viewer to a user.

    Attributes:
        is_self: they are the same user.
        shares_chat: both are members of one chat.
        former: both were members of one chat at the same time; true of those who still are, too.
        found_by: how the viewer identified the user in this call: showing them that number or name reveals nothing.
        blocks: the viewer has blocked the user.
        is_blocked: the user has blocked the viewer.
        is_contact: the user has written to the viewer; False also where no setting of the user depends on it.
        privacy: the user's settings.
    """

    is_self: bool = False
    shares_chat: bool = False
    former: bool = False
    found_by: FoundBy | None = None
    blocks: bool = False
    is_blocked: bool = False
    is_contact: bool = False
    privacy: Privacy = Privacy()


SELF: Final = Relation(is_self=True)
STRANGER: Final = Relation()


class Rule(msgspec.Struct, frozen=True):
    """Which viewers see a datum; its owner always does.

    Attributes:
        to: viewers in one of these relations.
        hidden_from_blocked: not viewers whom the user has blocked.
        hidden_from_blocker: nor viewers who have blocked the user.
    """

    to: frozenset[Standing]
    hidden_from_blocked: bool = False
    hidden_from_blocker: bool = False


_KNOWN: Final[frozenset[Standing]] = frozenset({"shares_chat", "found_by_number", "found_by_name"})
_MEMBERS: Final[frozenset[Standing]] = frozenset({"shares_chat"})


def _between_members() -> Rule:
    """Return the rule for data that only members of a common chat see, and never across a block."""
    return Rule(_MEMBERS, hidden_from_blocked=True, hidden_from_blocker=True)


RULES: Final[dict[Datum, Rule]] = {
    # Rows name their senders, also for members who have left since.
    "name": Rule(_KNOWN | {"former"}),
    "number": Rule(frozenset({"found_by_number"})),
    # Of users without a username, whom rows name by their number.
    "number_as_name": Rule(frozenset({"shares_chat", "found_by_number"})),
    "picture": Rule(_KNOWN, hidden_from_blocked=True),
    "about": Rule(_KNOWN, hidden_from_blocked=True),
    "created_at": Rule(_KNOWN | {"former"}),
    "online": _between_members(),
    "last_seen": _between_members(),
    "profile_changes": _between_members(),
    "typing": _between_members(),
    "receipts": _between_members(),
}


def is_in(audience: Audience, *, is_contact: bool) -> bool:
    """Return whether somebody whom the rules allow is in the audience that a user has chosen.

    Example:
        >>> [is_in(audience, is_contact=False) for audience in ("everyone", "contacts", "nobody")]
        [True, False, False]
    """
    return audience == "everyone" or (audience == "contacts" and is_contact)


def _chosen(datum: Datum, privacy: Privacy) -> Audience:
    if datum in {"online", "last_seen"}:
        return privacy.last_seen
    if datum == "picture":
        return privacy.picture
    return privacy.about if datum == "about" else "everyone"


def may_see(datum: Datum, relation: Relation) -> bool:
    """Return whether a viewer may see a datum of a user.

    Example:
        >>> may_see("online", Relation(shares_chat=True))
        True
        >>> may_see("online", Relation(shares_chat=True, is_blocked=True))
        False
        >>> may_see("number", Relation(found_by="number"))
        True
        >>> may_see("last_seen", Relation(shares_chat=True, privacy=Privacy(last_seen="nobody")))
        False
    """
    if relation.is_self:
        return True
    rule = RULES[datum]
    if (rule.hidden_from_blocked and relation.is_blocked) or (rule.hidden_from_blocker and relation.blocks):
        return False
    if not is_in(_chosen(datum, relation.privacy), is_contact=relation.is_contact):
        return False
    return bool(
        (relation.shares_chat and "shares_chat" in rule.to)
        or (relation.former and "former" in rule.to)
        or (relation.found_by == "number" and "found_by_number" in rule.to)
        or (relation.found_by == "name" and "found_by_name" in rule.to)
    )


def crosses_block(datum: Datum) -> bool:
    """Return whether members of a chat see a datum of each other even if one of them blocks the other."""
    return may_see(datum, Relation(shares_chat=True, blocks=True)) and may_see(
        datum, Relation(shares_chat=True, is_blocked=True)
    )
