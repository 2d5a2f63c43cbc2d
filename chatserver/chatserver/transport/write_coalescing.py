"""What is done once when the event loop comes round, for all connections in one call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatserver.supervision import caught

if TYPE_CHECKING:
    from collections.abc import Callable


class Turn:
    """Calls that wait for the loop to come round, in their order.

    One batch of messages wakes hundreds of connections: a handle of the loop for each costs more than what it writes.

    Example:
        >>> async def twice() -> list[str]:
        ...     said, turn = [], Turn()
        ...     for word in ("one", "two"):
        ...         turn.add(lambda word=word: said.append(word))
        ...     assert not said
        ...     await asyncio.sleep(0)
        ...     return said
        >>> asyncio.run(twice())
        ['one', 'two']
    """

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def add(self, call: Callable[[], None]) -> None:
        """Have something called when the loop comes round; it is logged when it fails."""
        if not self._calls:
            asyncio.get_running_loop().call_soon(self._run)
        self._calls.append(call)

    def _run(self) -> None:
        # What they add is for the next turn, like what is given to the loop.
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - a defect of one must not keep the others from their frames
                caught("call_failed", error)
