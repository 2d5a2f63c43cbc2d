"""Work for a connection of which one item runs at a time; of those that arrive meanwhile, only the newest waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from chatserver.supervision import isolated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Runs work for one item after the other.

    Args:
        start: begins the work beside what else runs.
        work: what to do for an item; a failure is logged, and the next item's turn comes.
    """

    __slots__ = ("_running", "_start", "_waiting", "_work")

    def __init__(
        self, start: Callable[[Coroutine[None, None, None]], object], work: Callable[[Item], Awaitable[None]]
    ) -> None:
        self._start = start
        self._work = work
        self._running = False
        self._waiting: list[Item] = []

    def put(self, item: Item) -> bool:
        """Do the work for an item, at once or when it is its turn; returns whether it replaces one that waited."""
        replaces = bool(self._waiting)
        self._waiting = [item]
        if not self._running:
            self._running = True
            self._start(self._run())
        return replaces

    async def _run(self) -> None:
        try:
            while self._waiting:
                item = self._waiting.pop()
                with isolated("connection_work_failed"):
                    await self._work(item)
        finally:
            self._running = False
