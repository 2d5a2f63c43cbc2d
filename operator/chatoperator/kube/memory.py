"""How much of the operator's memory the cached objects of each ChatCluster and each namespace take. Pure.

Nobody is held to a share while there is room for all. Where there is none, the namespace that takes most is to give.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatoperator.kube.lanes import Key

ENTRY_BYTES = 1024
"""That an object takes beside its text: its name, its owner, their places in tables."""

CHATCLUSTER_BYTES_MAX = 3 * 1024 * 1024
"""Of a ChatCluster and all its objects: one reconcile holds all of them as objects of Python. One with a hundred
servers has about 250 KB."""

GOAL = 7 / 8
"""Of the whole, down to which is freed at a time: freeing a little at each object would look at all of them again."""


class Room:
    """Counts bytes.

    Args:
        bytes_max: Of all cached objects together.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._by_namespace: Counter[str] = Counter()
        self._by_owner: Counter[Key] = Counter()
        self.total = 0

    def change(self, owner: Key, added: int) -> None:
        """An object of a ChatCluster takes so many bytes more; less than 0 for fewer."""
        self.total += added
        self._by_owner[owner] += added
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        self._by_namespace[owner[0]] += added
        if not self._by_namespace[owner[0]]:
            del self._by_namespace[owner[0]]

    def excess(self, owner: Key) -> int:
        """Bytes that a ChatCluster's objects take too many; 0 or less for none."""
        return self._by_owner[owner] - CHATCLUSTER_BYTES_MAX

    def crowded(self) -> tuple[str, int] | None:
        """The namespace that takes most, and how many bytes it is to give; None where there is room for all."""
        if self.total <= self.bytes_max:
            return None
        namespace = max(self._by_namespace, key=self._by_namespace.__getitem__)
        return namespace, self.total - int(self.bytes_max * GOAL)

    def taken(self, namespace: str) -> int:
        """Bytes of all objects of a namespace."""
        return self._by_namespace[namespace]

    def fits(self, owner: Key, *, of_owner: int, of_all: int) -> bool:
        """Whether there is room for so many bytes more of a ChatCluster's objects, and of all objects."""
        return self.total + of_all <= self.bytes_max * GOAL and self.excess(owner) + of_owner <= 0
