"""Current members of the chats that are followed here, and between which of them no signals go. No I/O."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - mypyc evaluates the annotations of a dataclass
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


@dataclass(frozen=True, slots=True)
class _Known:
    """A chat's members, here or not, {member: those between whom and them no signal goes}, and who hides reading."""

    user_ids: frozenset[int]
    barred: Mapping[int, frozenset[int]]
    hiding: frozenset[int]


class Members:
    """What was read of chats since their members, or blocks between them, last changed."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def knows(self, chat_id: int) -> bool:
        """Whether a chat's members are known."""
        return chat_id in self._known

    def of(self, chat_id: int) -> frozenset[int] | None:
        """Return a chat's members, here or not; None: they are not known."""
        known = self._known.get(chat_id)
        return None if known is None else known.user_ids

    def learn(
        self,
        chat_id: int,
        user_ids: Iterable[int],
        barred: Iterable[tuple[int, int]] = (),
        hiding: Iterable[int] = (),
    ) -> None:
        """Remember a chat's members, the pairs of them between whom no signal goes, and who hides what they read."""
        others: dict[int, set[int]] = {}
        for user_id, other_id in barred:
            others.setdefault(user_id, set()).add(other_id)
            others.setdefault(other_id, set()).add(user_id)
        by_user = {user_id: frozenset(found) for user_id, found in others.items()}
        self._known[chat_id] = _Known(frozenset(user_ids), by_user, frozenset(hiding))

    def hiding(self, chat_id: int) -> frozenset[int]:
        """Return the members of a chat who do not show what they have read, and are not shown what others have."""
        known = self._known.get(chat_id)
        return frozenset() if known is None else known.hiding

    def forget(self, chat_id: int) -> None:
        """Have the members of a chat read again when they are needed."""
        self._known.pop(chat_id, None)

    def forget_all(self) -> None:
        """Have all members read again: hints of changes may have been lost."""
        self._known.clear()

    def forget_shared(self, chat_ids: Iterable[int], user_id: int, other_id: int) -> None:
        """Have those of the chats read again that two users share: which signals go between them changed."""
        for chat_id in chat_ids:
            known = self._known.get(chat_id)
            if known is not None and {user_id, other_id} <= known.user_ids:
                del self._known[chat_id]

    def readers(self, chat_id: int, among: AbstractSet[int], *, from_id: int) -> AbstractSet[int]:
        """Return those of some users who get a member's signals; a former member's go to their own devices alone."""
        known = self._known.get(chat_id)
        if known is None:
            return frozenset()
        if from_id not in known.user_ids:
            return among & {from_id}
        readers = among & known.user_ids
        return readers - known.barred[from_id] if from_id in known.barred else readers
