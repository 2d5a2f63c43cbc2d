"""Who may see what of a user: the one place that decides it, for every call and every frame.

A decision is a look-up: what the viewer is to the user (`Relation`, which `storage.relations` reads), and the row of
the datum in `RULES`. A new datum is a row there, and whoever shows it asks `may_see`. docs/decisions/0047 says why.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Datum = Literal[
    "name",
    "number",
    "number_as_name",
    "picture",
    "created_at",
    "online",
    "last_seen",
    "profile_changes",
    "typing",
    "receipts",
]

Standing = Literal["shares_chat", "former", "asked_by_number", "asked_by_name"]
"""What a viewer is to somebody else. Who is none of these is a stranger, and sees nothing."""

AskedBy = Literal["number", "name"]
"""What the caller named the user by, in this very call."""


class Relation(msgspec.Struct, frozen=True):
    """What a viewer is to a user.

    Attributes:
        is_self: they are the same user.
        shares_chat: both are members of one chat.
        former: both were members of one chat at the same time; true of those who still are, too.
        asked_by: what the viewer named the user by in this call: who knows a number or a name is not told it anew.
        blocks: the viewer has blocked the user.
        is_blocked: the user has blocked the viewer.
    """

    is_self: bool = False
    shares_chat: bool = False
    former: bool = False
    asked_by: AskedBy | None = None
    blocks: bool = False
    is_blocked: bool = False


SELF: Final = Relation(is_self=True)
STRANGER: Final = Relation()


class Rule(msgspec.Struct, frozen=True):
    """Who sees a datum; its owner always does.

    Attributes:
        to: with one of these standings.
        hidden_from_blocked: not from whom the user has blocked.
        hidden_from_blocker: nor from who has blocked the user.
    """

    to: frozenset[Standing]
    hidden_from_blocked: bool = False
    hidden_from_blocker: bool = False


_KNOWN: Final[frozenset[Standing]] = frozenset({"shares_chat", "asked_by_number", "asked_by_name"})
_MEMBERS: Final[frozenset[Standing]] = frozenset({"shares_chat"})


def _between_members() -> Rule:
    """Return the rule of what passes only between members of a chat, and never across a block."""
    return Rule(_MEMBERS, hidden_from_blocked=True, hidden_from_blocker=True)


RULES: Final[dict[Datum, Rule]] = {
    # Rows name their senders, to those who have left since as well.
    "name": Rule(_KNOWN | {"former"}),
    "number": Rule(frozenset({"asked_by_number"})),
    # Of who has no username: the number is what rows name them by.
    "number_as_name": Rule(frozenset({"shares_chat", "asked_by_number"})),
    "picture": Rule(_KNOWN, hidden_from_blocked=True),
    "created_at": Rule(_KNOWN | {"former"}),
    "online": _between_members(),
    "last_seen": _between_members(),
    "profile_changes": _between_members(),
    "typing": _between_members(),
    "receipts": _between_members(),
}


def may_see(datum: Datum, relation: Relation) -> bool:
    """Return whether a viewer may see a datum of a user.

    Example:
        >>> may_see("online", Relation(shares_chat=True))
        True
        >>> may_see("online", Relation(shares_chat=True, is_blocked=True))
        False
        >>> may_see("number", Relation(asked_by="number"))
        True
    """
    if relation.is_self:
        return True
    rule = RULES[datum]
    if (rule.hidden_from_blocked and relation.is_blocked) or (rule.hidden_from_blocker and relation.blocks):
        return False
    return bool(
        (relation.shares_chat and "shares_chat" in rule.to)
        or (relation.former and "former" in rule.to)
        or (relation.asked_by == "number" and "asked_by_number" in rule.to)
        or (relation.asked_by == "name" and "asked_by_name" in rule.to)
    )


def crosses_block(datum: Datum) -> bool:
    """Return whether members of a chat see a datum of each other although one of the two blocks the other."""
    return may_see(datum, Relation(shares_chat=True, blocks=True)) and may_see(
        datum, Relation(shares_chat=True, is_blocked=True)
    )
