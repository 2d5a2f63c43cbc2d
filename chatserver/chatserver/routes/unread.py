"""Answers that their clients do not read: how much of them a server keeps, and whose are given up first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Hashable

UNREAD_BYTES: Final = 64 << 20
"""Bytes of answers that wait to be read, of all clients together: sixteen of the largest pages. Answers of less than
64 KiB, which nearly all are, count only once the client has left that much unread."""

log = structlog.get_logger(__name__)


class Holder(Protocol):
    """A connection whose client has not read all of an answer."""

    def give_up(self) -> None:
        """End the connection, with what waits on it."""


class Unread:
    """What waits to be read on all connections.

    The owner that has the most loses their oldest answers first, so that nobody who reads slowly loses one to somebody
    who does not read at all.

    Args:
        most_bytes: that may wait.
    """

    def __init__(self, most_bytes: int = UNREAD_BYTES) -> None:
        self._most_bytes = most_bytes
        self._total = 0
        self._held: dict[Hashable, dict[Holder, int]] = {}
        self._owners: dict[Holder, Hashable] = {}

    @property
    def total(self) -> int:
        """Bytes that wait."""
        return self._total

    def hold(self, holder: Holder, owner: Hashable, size: int) -> None:
        """Count what a connection holds from now on, and give up answers until what waits is within the bound."""
        self.release(holder)
        self._owners[holder] = owner
        self._held.setdefault(owner, {})[holder] = size
        self._total += size
        while self._total > self._most_bytes:
            greatest = max(self._held.values(), key=lambda held: sum(held.values()))
            oldest = next(iter(greatest))
            log.info("answer_not_read", bytes=greatest[oldest], connections=len(greatest))
            self.release(oldest)
            oldest.give_up()

    def release(self, holder: Holder) -> None:
        """Forget a connection: its client has read, or it has ended."""
        if holder not in self._owners:
            return
        owner = self._owners.pop(holder)
        held = self._held[owner]
        self._total -= held.pop(holder)
        if not held:
            del self._held[owner]
