"""Keeps reconciles coming: wakes from watches, a sweep every 15 s, and what tells whether the operator lives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import OperatorError
from chatoperator.workqueue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.manifests.metadata import Manifest
    from chatoperator.reconcile import Reconciler
    from chatoperator.workqueue import Key

SWEEP_SECONDS = 15
"""What no watch told comes to light within this; also the autoscaler's tick."""

SWEEP_AGE_MAX_SECONDS = 90
"""Several sweeps in a row failed or hang: kubelet should start the operator anew."""

SILENT_MAX_SECONDS = 150
"""Each watch ends by itself every 30 s, and one that was cut is begun anew after 35 s."""

PULSE_SECONDS = 4
"""Between two looks whether the chats still answer. With it Ready turns False within 10 s, a reconcile included."""

PULSES_PER_SECOND = 50
"""Chats asked at most; each costs a TLS handshake of about 2 ms, so that this is a tenth of a core."""

log = structlog.get_logger(__name__)


class Controller:
    """Wakes, sweeps and their age.

    Args:
        reconciler: What is run for each ChatCluster.
        monotonic: Seconds that never go back.
        unix_time: Seconds since 1970, for metrics.
    """

    def __init__(
        self, reconciler: Reconciler, *, monotonic: Callable[[], float], unix_time: Callable[[], float]
    ) -> None:
        self._reconciler = reconciler
        self._monotonic = monotonic
        self._unix_time = unix_time
        self._queue = WorkQueue(self._run, _report)
        self._swept_at = monotonic()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, as the leader, to watch and to sweep, and to look between sweeps whether the chats still answer."""
        self._swept_at = self._monotonic()
        self._tasks = [
            asyncio.create_task(self._reconciler.cache.run(self._queue.wake), name="cache"),
            asyncio.create_task(self._sweep_forever(), name="sweep"),
            asyncio.create_task(self._pulse_forever(), name="pulse"),
        ]

    async def stop(self) -> None:
        """End sweeps and reconciles."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._queue.close()

    def changed(self, news: str | None, chatcluster: Manifest) -> None:
        """Take what a watch says of a ChatCluster, and reconcile it soon.

        Args:
            news: ADDED, MODIFIED or DELETED; None where it was listed.
            chatcluster: As the API server has it, or had it last.
        """
        for key in self._reconciler.cache.told(news, chatcluster):
            self._queue.wake(key)

    def sweep_age_seconds(self) -> float:
        """Seconds since the last complete sweep."""
        return self._monotonic() - self._swept_at

    def check_alive(self) -> str:
        """How this process is, in words. A standby is alive; of the leader its last sweep and its watches tell.

        Raises:
            OperatorError: It has not swept, or not heard from a watch, for too long.
        """
        if not self._tasks:
            return "standing by"
        age = self.sweep_age_seconds()
        if age > SWEEP_AGE_MAX_SECONDS:
            raise OperatorError(f"the last sweep was {age:.0f} s ago")
        silent = self._reconciler.cache.silent_seconds()
        if silent > SILENT_MAX_SECONDS:
            raise OperatorError(f"a watch was silent for {silent:.0f} s")
        return f"the last sweep was {age:.0f} s ago"

    async def _run(self, key: Key) -> None:
        with metrics.RECONCILE_SECONDS.time():
            await self._reconciler.reconcile(key)

    async def _pulse_forever(self) -> None:
        while True:
            await asyncio.sleep(max(PULSE_SECONDS, self._reconciler.known / PULSES_PER_SECOND))
            for key in await self._reconciler.turned():
                self._queue.wake(key)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                for key in await self._reconciler.keys():
                    self._queue.wake(key, urgent=False)
            except OperatorError as error:
                log.warning("sweep failed", error=str(error))
            else:
                self._swept_at = self._monotonic()
                metrics.LAST_SWEEP.set(self._unix_time())
            await asyncio.sleep(SWEEP_SECONDS)


def _report(key: Key, error: Exception | None) -> None:
    if error is None:
        metrics.RECONCILES.labels(result="ok").inc()
        return
    metrics.RECONCILES.labels(result="error").inc()
    namespace, name = key
    if isinstance(error, OperatorError):
        log.warning("reconcile failed", namespace=namespace, name=name, code=error.code, error=str(error))
    else:
        log.error("reconcile failed", namespace=namespace, name=name, code="Unexpected", exc_info=error)
