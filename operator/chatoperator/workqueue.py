"""A keyed queue: one run per key at a time, so many at once, wakes coalesce, failures back off."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Key = tuple[str, str]
"""(namespace, name) of a ChatCluster."""

COALESCE_SECONDS = 0.2
"""Waited after a wake: one change of a Deployment comes as a burst of events."""

BACKOFF_SECONDS = (1, 2, 4, 8, 15)
"""Waits after failures in a row; the last repeats, as often as the sweep comes."""

RUNS_AT_A_TIME = 48
"""Several times as many as requests at a time: most runs wait for a server's answer, which may take seconds."""


@dataclass
class _Entry:
    """One key that waits or runs.

    Attributes:
        urgent: Whether something happened, rather than that a look is due.
        woken: Whether it is to run once more after this run.
        failures: In a row.
        running: None while it waits.
    """

    urgent: bool
    woken: bool = False
    failures: int = 0
    running: asyncio.Task[None] | None = None


class WorkQueue:
    """Runs `work(key)` for each key that was woken, first come, first served; what is urgent goes before what is not.

    Args:
        work: What to run. An exception makes it run again after a wait.
        report: Told how each run ended: None, or the exception.
    """

    def __init__(self, work: Callable[[Key], Awaitable[None]], report: Callable[[Key, Exception | None], None]) -> None:
        self._work = work
        self._report = report
        self._entries: dict[Key, _Entry] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._urgent: deque[Key] = deque()
        self._due: deque[Key] = deque()
        self._running = 0

    def wake(self, key: Key, *, urgent: bool = True) -> None:
        """Make `work` run for the key, soon and at least once from now.

        Args:
            key: What to run it for.
            urgent: False where nothing is known to have happened; many of these keep nobody waiting.
        """
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(urgent)
            self._later(key, COALESCE_SECONDS)
        elif entry.running is not None:
            entry.woken = True
            entry.urgent |= urgent
        elif urgent and not entry.urgent:
            entry.urgent = True
            if key not in self._timers:
                self._urgent.append(key)

    async def close(self) -> None:
        """Cancel what runs and wait for it."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = [entry.running for entry in self._entries.values() if entry.running is not None]
        for ended in (self._timers, self._entries, self._urgent, self._due):
            ended.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _later(self, key: Key, seconds: float) -> None:
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._enqueue, key)

    def _enqueue(self, key: Key) -> None:
        del self._timers[key]
        (self._urgent if self._entries[key].urgent else self._due).append(key)
        self._fill()

    def _fill(self) -> None:
        while self._running < RUNS_AT_A_TIME and (self._urgent or self._due):
            key = (self._urgent or self._due).popleft()
            entry = self._entries.get(key)
            # What became urgent while it waited is in both.
            if entry is not None and entry.running is None and key not in self._timers:
                self._running += 1
                entry.woken = entry.urgent = False
                entry.running = asyncio.create_task(self._run(key, entry), name=f"reconcile {key[0]}/{key[1]}")
        metrics.QUEUED.set(len(self._urgent) + len(self._due))

    async def _run(self, key: Key, entry: _Entry) -> None:
        failure: Exception | None = None
        try:
            await self._work(key)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is reported and tried again
            failure = error
        finally:
            self._running -= 1
            entry.running = None
        self._report(key, failure)
        if failure is not None:
            self._later(key, BACKOFF_SECONDS[min(entry.failures, len(BACKOFF_SECONDS) - 1)])
            entry.failures += 1
            entry.urgent = True
        elif entry.woken:
            entry.failures = 0
            self._later(key, COALESCE_SECONDS)
        else:
            del self._entries[key]
        self._fill()
