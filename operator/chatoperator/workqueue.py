"""A keyed queue: one run per key at a time, wakes coalesce, failures back off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Key = tuple[str, str]
"""(namespace, name) of a ChatCluster."""

COALESCE_SECONDS = 0.2
"""Waited after a wake: one change of a Deployment comes as a burst of events."""

BACKOFF_SECONDS = (1, 2, 4, 8, 15)
"""Waits after failures in a row; the last repeats, as often as the sweep comes."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass
class _Entry:
    task: asyncio.Task[None]
    wake: asyncio.Event


class WorkQueue:
    """Runs `work(key)` for each key that was woken, keys beside each other and each key one at a time.

    Args:
        work: What to run. An exception makes it run again after a wait.
        report: Told how each run ended: None, or the exception.
    """

    def __init__(self, work: Callable[[Key], Awaitable[None]], report: Callable[[Key, Exception | None], None]) -> None:
        self._work = work
        self._report = report
        self._entries: dict[Key, _Entry] = {}

    def wake(self, key: Key) -> None:
        """Make `work` run for the key, soon and at least once from now."""
        entry = self._entries.get(key)
        if entry is not None and not entry.task.done():
            entry.wake.set()
            return
        wake = asyncio.Event()
        wake.set()
        task = asyncio.create_task(self._serve(key, wake), name=f"reconcile {key[0]}/{key[1]}")
        self._entries[key] = _Entry(task, wake)

    async def close(self) -> None:
        """Cancel what runs and wait for it."""
        tasks = [entry.task for entry in self._entries.values()]
        self._entries.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, key: Key, wake: asyncio.Event) -> None:
        failures = 0
        while wake.is_set():
            await asyncio.sleep(COALESCE_SECONDS)
            wake.clear()
            try:
                await self._work(key)
            except Exception as error:  # noqa: BLE001 - whatever it was, it is reported and tried again
                self._report(key, error)
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
                failures += 1
                wake.set()
            else:
                self._report(key, None)
                failures = 0
