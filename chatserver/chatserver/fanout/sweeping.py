"""Publishes the hints that other servers committed and did not publish before they ended.

A hint is published right after its commit, and its slot then written again or cleared. One that is still in its slot
after STALE_SECONDS belongs to a server that ended, or to a transaction of which nobody knows whether it is committed:
whichever server finds it first publishes it. Publishing a hint twice does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.hints import Hint
from chatserver.storage import hint_sweep
from chatserver.supervision import apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.metrics.delivery import DeliveryMetrics
    from chatserver.storage.database import Database
    from chatserver.storage.hint_sweep import LeftHint

log = structlog.get_logger()

SWEEP_SECONDS = 2.5
"""Longest time between two rounds: usually each probe of the listening connection begins one (``bus.WATCH_SECONDS``).
A server clears its own published slots after at most two of them."""

STALE_SECONDS = 5.0
"""Seconds after which a hint counts as left: the slots of a server that runs are younger. With the time until the next
sweep, what a server left is delivered within 10 s."""


class HintSweep:
    """Publishes what nobody published.

    Args:
        database: where hints were left.
        metrics: counts them.
    """

    def __init__(self, database: Database, metrics: DeliveryMetrics) -> None:
        self._database = database
        self._hints = database.hints
        self._looks = database.looks
        self._metrics = metrics

    async def run(self) -> None:
        """Sweep until cancelled; at once when a transaction of this server has an unknown outcome."""
        self._looks.stale_seconds = STALE_SECONDS
        while True:
            try:
                await self._sweep()
            except ServiceUnavailable:
                log.warning("hints_wait_for_database")
                await asyncio.sleep(SWEEP_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._hints.wake.wait()

    async def _sweep(self) -> None:
        """Clear the slots of this server that are published, and publish what was left.

        Raises:
            ServiceUnavailable: the database or the bus is unavailable.
        """
        await self._clear(self._hints.slots.take_idle())
        self._hints.wake.clear()
        uncertain = self._hints.slots.take_uncertain()
        if self._looks.take() and not uncertain:
            return
        try:
            left = await hint_sweep.claim(
                self._database, self._hints.slots.owner, uncertain, stale_seconds=STALE_SECONDS
            )
        except BaseException:
            self._hints.slots.look_again(uncertain)
            raise
        if not left:
            return
        failed = await apart("left_hints_not_published", left, self._publish)
        published = [hint for hint in left if hint not in failed]
        self._metrics.hints_swept.inc(len(published))
        log.info("left_hints_published", hints=len(published), of=sorted({hint.owner for hint in published}))
        await hint_sweep.remove(self._database, published)

    async def _publish(self, left: Sequence[LeftHint]) -> None:
        await self._hints.publish(list(_hints_of(left)))

    async def finish(self) -> None:
        """Clear all published slots of this server, which ends.

        Raises:
            ServiceUnavailable: the database is unavailable; other servers publish them again.
        """
        await self._clear(self._hints.slots.take_published())

    async def _clear(self, numbers: list[int]) -> None:
        if not numbers:
            return
        try:
            await hint_sweep.clear(self._database, self._hints.slots.owner, numbers)
        finally:
            self._hints.slots.cleared(numbers)


def _hints_of(left: Iterable[LeftHint]) -> Iterable[Hint]:
    for hint in left:
        try:
            yield Hint.decode(hint.payload)
        except ValueError:
            log.warning("left_hint_not_readable", of=hint.owner)
