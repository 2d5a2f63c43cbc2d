"""Counts what this server takes from rate limits together with the other servers, after the fact and in batches."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from chatserver.limits.rates import TokenBuckets, local_buckets
from chatserver.limits.shared import SharedBuckets, subject_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from chatserver.limits.shared import Taken

REPORT_SECONDS: Final = 1.0
"""Interval of reports: until then the other servers do not know of less than a sixtieth of a limit."""


class Usage(NamedTuple):
    """What was taken from the bucket of one subject.

    Attributes:
        number: places the subject; the same on all servers.
        subject: its name.
        taken_ms: what was taken, in milliseconds of the bucket's refill.
        known_ms: what was missing before that, as far as this server knows.
    """

    number: int
    subject: str
    taken_ms: int
    known_ms: int


class LimitSharing:
    """Reports what is taken from its buckets, and has them learn what all servers have taken.

    A report of which nobody knows whether it was counted is not repeated: a limit that is exceeded for a second is
    better than a user who is rejected wrongly. Without an answer each server's limits are those of one server.

    Args:
        count: adds usages to the shared count. Returns for each of them after how many milliseconds its bucket will be
            full; None: it is not counted now. Raises nothing for an outage.
        secret_key: of the chat.
    """

    def __init__(self, count: Callable[[Sequence[Usage]], Awaitable[Sequence[int | None]]], secret_key: bytes) -> None:
        self._count = count
        self._secret_key = secret_key
        self._buckets: dict[str, SharedBuckets] = {}
        self._due = asyncio.Event()

    def make_buckets(self, kind: str, tokens: int, period_seconds: float) -> TokenBuckets:
        """Return buckets that are shared with the other servers; see ``Limits``."""
        if not tokens:
            return local_buckets(kind, tokens, period_seconds)
        buckets = SharedBuckets(tokens, period_seconds=period_seconds, on_due=self._due.set)
        self._buckets[kind] = buckets
        return buckets

    async def run(self) -> None:
        """Report every REPORT_SECONDS, and at once what is due, until cancelled."""
        report_at = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= report_at:
                report_at = now + REPORT_SECONDS
                await self._report(due_only=False)
                continue
            try:
                async with asyncio.timeout(report_at - now):
                    await self._due.wait()
            except TimeoutError:
                continue
            await self._report(due_only=True)

    async def _report(self, *, due_only: bool) -> None:
        self._due.clear()
        sent_at = time.monotonic()
        collected: list[tuple[SharedBuckets, Taken]] = []
        usages: list[Usage] = []
        for kind, buckets in self._buckets.items():
            for taken in buckets.collect(sent_at, due_only=due_only):
                collected.append((buckets, taken))
                number, subject = subject_of(kind, taken.key, self._secret_key)
                usages.append(Usage(number, subject, taken.taken_ms, taken.known_ms))
        if not usages:
            return
        for (buckets, taken), busy_ms in zip(collected, await self._count(usages), strict=True):
            if busy_ms is not None:
                buckets.learn(taken.key, sent_at, busy_ms / 1000)
