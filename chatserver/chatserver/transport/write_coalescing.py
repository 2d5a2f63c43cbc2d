"""Write coalescing: one call in the next turn of the event loop for all connections that have something to write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatserver.supervision import caught

if TYPE_CHECKING:
    from collections.abc import Callable


class WriteCoalescer:
    """Calls that are made in the next turn of the event loop, in their order.

    One batch of messages wakes hundreds of connections: a handle of the loop for each costs more than its write.

    Example:
        >>> async def twice() -> list[str]:
        ...     made, coalescer = [], WriteCoalescer()
        ...     for word in ("one", "two"):
        ...         coalescer.add(lambda word=word: made.append(word))
        ...     assert not made
        ...     await asyncio.sleep(0)
        ...     return made
        >>> asyncio.run(twice())
        ['one', 'two']
    """

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._after: list[Callable[[], None]] = []
        self._is_due = False

    def follow(self, call: Callable[[], None]) -> None:
        """Have something called at the end of each turn in which calls are made, for what is measured by then."""
        self._after.append(call)

    def add(self, call: Callable[[], None]) -> None:
        """Have something called in the next turn of the loop; a failure is logged."""
        self._calls.append(call)
        if not self._is_due:
            self.wake()

    def wake(self) -> None:
        """Have what follows called in the next turn of the loop, even if there is nothing else to call."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        # What they add is for the turn after, like what is given to the loop.
        self._is_due = False
        calls, self._calls = self._calls, []
        for call in (*calls, *self._after):
            try:
                call()
            except Exception as error:  # noqa: BLE001 - a defect of one must not keep the others from their frames
                caught("call_failed", error)
