"""Bytes that a server keeps for slow clients: how many, and whose are given up first when they are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Hashable

UNREAD_BYTES: Final = 64 << 20
"""Bytes of answers that wait to be read, of all clients together: sixteen of the largest pages. Answers of less than
64 KiB, which nearly all are, count only once the client has left that much unread."""

ARRIVING_BYTES: Final = 64 << 20
"""Bytes of requests that are arriving or being answered, of all clients together: eighty of the largest."""

LARGE_REQUEST_BYTES: Final = 64 << 10
"""Requests count among ARRIVING_BYTES from this size on: nearly all have a few hundred bytes."""

READ_BUFFER_BYTES: Final = 64 << 20
"""Bytes of large read buffers of WebSockets, of all clients together: sixty-four that have taken the largest frame."""

log = structlog.get_logger(__name__)


class Holder(Protocol):
    """A connection for which bytes are kept."""

    def give_up(self) -> None:
        """End the connection, with what is kept for it."""


class Kept:
    """What is kept for all connections.

    The owner that has the most loses their oldest first, so that nobody who is slow loses anything to somebody who
    takes all that there is.

    Args:
        most_bytes: that may be kept.
        event: is logged when a connection is given up.
    """

    def __init__(self, most_bytes: int, event: str) -> None:
        self._most_bytes = most_bytes
        self._event = event
        self._total = 0
        self._held: dict[Hashable, dict[Holder, int]] = {}
        self._owners: dict[Holder, Hashable] = {}

    @property
    def total(self) -> int:
        """Bytes that are kept."""
        return self._total

    def hold(self, holder: Holder, owner: Hashable, size: int) -> None:
        """Count what is kept for a connection from now on, and give up others until all is within the bound."""
        self.release(holder)
        self._owners[holder] = owner
        self._held.setdefault(owner, {})[holder] = size
        self._total += size
        while self._total > self._most_bytes:
            greatest = max(self._held.values(), key=lambda held: sum(held.values()))
            oldest = next(iter(greatest))
            log.info(self._event, bytes=greatest[oldest], connections=len(greatest))
            self.release(oldest)
            oldest.give_up()

    def release(self, holder: Holder) -> None:
        """Forget a connection: nothing is kept for it any more, or it has ended."""
        if holder not in self._owners:
            return
        owner = self._owners.pop(holder)
        held = self._held[owner]
        self._total -= held.pop(holder)
        if not held:
            del self._held[owner]
