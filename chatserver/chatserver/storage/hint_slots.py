"""Slots: the rows of `hint_slots` that transactions of this process write, and which may be written now. No I/O.

A transaction leaves in a slot what other servers have to hear of it. The slot is written again only when its hint is
known to be published, so that the rows of a process that ended say what nobody has published.
"""

from __future__ import annotations

import heapq
import itertools
import secrets
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Slot(NamedTuple):
    """A slot that one transaction may write.

    Attributes:
        number: of the row, among those of its owner.
        batch: of the transaction, among those of its owner; no other transaction has it.
    """

    number: int
    batch: int


class HintSlots:
    """The slots of one process.

    Attributes:
        owner: the server's name and what distinguishes its processes: a container starts again under the same name.
    """

    def __init__(self, server_name: str) -> None:
        self.owner = f"{server_name} {secrets.token_hex(8)}"
        self._batches = itertools.count(1)
        self._numbers = itertools.count(1)
        # The lowest first: the fewer rows are written, the fewer others are left to clear.
        self._free: list[int] = []
        # Published slots whose rows still have their hint; True: not written since they were last looked through.
        self._written: dict[int, bool] = {}
        self._uncertain: set[int] = set()

    def take(self) -> Slot:
        """Return a slot for one transaction, to be given to one of the other methods afterwards."""
        number = heapq.heappop(self._free) if self._free else next(self._numbers)
        return Slot(number, next(self._batches))

    def unwritten(self, slot: Slot) -> None:
        """Take a slot back whose transaction was rolled back, or had nothing to say."""
        heapq.heappush(self._free, slot.number)

    def published(self, slot: Slot) -> None:
        """Take a slot back whose hint is published."""
        self._written[slot.number] = False
        heapq.heappush(self._free, slot.number)

    def uncertain(self, slot: Slot) -> None:
        """Never write a slot again: its transaction may be committed, now or later."""
        self._written.pop(slot.number, None)
        self._uncertain.add(slot.number)

    def take_uncertain(self) -> set[int]:
        """Return the numbers of the slots that became uncertain since the last call."""
        taken, self._uncertain = self._uncertain, set()
        return taken

    def look_again(self, numbers: Iterable[int]) -> None:
        """Return these slots by the next `take_uncertain` too."""
        self._uncertain.update(numbers)

    def take_idle(self) -> list[int]:
        """Return the published slots that were not written since the last call; they are taken until `cleared`."""
        idle = {number for number in self._free if self._written.get(number)}
        self._free = [number for number in self._free if number not in idle]
        heapq.heapify(self._free)
        for number in idle:
            del self._written[number]
        self._written = dict.fromkeys(self._written, True)
        return sorted(idle)

    def take_published(self) -> list[int]:
        """Return all published slots whose rows still have their hint; they are taken until `cleared`."""
        self._written = dict.fromkeys(self._written, True)
        return self.take_idle()

    def cleared(self, numbers: Iterable[int]) -> None:
        """Take slots back whose rows are deleted, or may be: what they say is published."""
        for number in numbers:
            heapq.heappush(self._free, number)
