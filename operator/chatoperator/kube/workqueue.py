"""A keyed queue: one run per key at a time, so many at once, wakes coalesce, failures back off. `lanes.py` decides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatoperator import metrics
from chatoperator.kube.lanes import SLOW_SECONDS, Key, Lanes
from chatoperator.supervision import failed, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Key", "WorkQueue"]

RUN_SECONDS_MAX = 300
"""A run that takes longer has failed: it hangs on something that has no limit of its own."""


class WorkQueue:
    """Runs `work(key)` for each key that was woken.

    Args:
        work: What to run. An exception makes it run again after a wait.
        report: Called after each run with None, or the exception.
    """

    def __init__(self, work: Callable[[Key], Awaitable[None]], report: Callable[[Key, Exception | None], None]) -> None:
        self._work = work
        self._report = report
        self._lanes = Lanes()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, key: Key, *, urgent: bool = True) -> None:
        """Make `work` run for the key, soon and at least once from now.

        Args:
            key: What to run it for.
            urgent: False where nothing is known to have happened; many of these keep nobody waiting.
        """
        self._lanes.wake(key, self._now(), urgent=urgent)
        self._fill()

    def oldest_seconds(self, now: float | None = None) -> float:
        """For how long the key that has waited longest has not been tried since it was due.

        Args:
            now: The event loop's time; None only where it runs. Other threads have to give it.
        """
        return self._lanes.oldest_seconds(self._now() if now is None else now)

    async def close(self) -> None:
        """Cancel what runs and wait for it."""
        if self._timer is not None:
            self._timer.cancel()
        self._lanes = Lanes()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _fill(self) -> None:
        while (key := self._lanes.start(self._now())) is not None:
            metrics.QUEUE_WAIT.observe(self._lanes.waited_seconds(key))
            task = asyncio.create_task(self._run(key, self._lanes), name=f"reconcile {key[0]}/{key[1]}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        metrics.QUEUED.set(len(self._lanes))
        if self._timer is not None:
            self._timer.cancel()
        at = self._lanes.next_at()
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self._fill)

    def _turned_slow(self, key: Key) -> None:
        self._lanes.turned_slow(key)
        self._fill()

    async def _run(self, key: Key, lanes: Lanes) -> None:
        timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._turned_slow, key)
        failure: Exception | None = None
        try:
            async with asyncio.timeout(RUN_SECONDS_MAX):
                await self._work(key)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            failure = RuntimeError("a task that the reconcile awaited was cancelled")
            failure.__cause__ = error
        except Exception as error:  # noqa: BLE001 - whatever it was, it is reported and tried again
            failure = error
        finally:
            timer.cancel()
        try:
            self._report(key, failure)
        except Exception as error:  # noqa: BLE001 - what cannot be reported is tried again all the same
            failed("report", error, namespace=key[0], name=key[1])
        lanes.end(key, self._now(), failed=failure is not None)
        self._fill()
