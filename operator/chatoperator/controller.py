"""Starts reconciles: after events of watches, in a sweep every 15 s, and after a change of reachability."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import OperatorError
from chatoperator.kube.workqueue import WorkQueue
from chatoperator.metrics.chats import count_error
from chatoperator.supervision import supervised

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.kube.lanes import Key
    from chatoperator.reconcile import Reconciler

SWEEP_SECONDS = 15
"""A change that no event reports is found within this time; also the autoscaler's tick."""

OLDEST_MAX_SECONDS = 90
"""A ChatCluster that was due for so long was not tried: kubelet should restart the operator."""

SILENT_MAX_SECONDS = 150
"""Each watch ends every 30 s, and one that was cut is started again after 35 s."""

PULSE_SECONDS = 4
"""Between two looks whether the chats still answer. With it Ready turns False within 10 s, a reconcile included."""

PULSES_PER_SECOND = 50
"""Chats probed at most; each probe costs a TLS handshake of about 2 ms, so that this is a tenth of a core."""

DRAIN_READ_SECONDS = 1
"""Between two readings of a chatserver that drains: it closes the connections that are left in its last seconds, and is
gone before Prometheus would read that."""

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
        loops = {
            "cache": lambda: self._reconciler.cache.run(self._queue.wake),
            "sweep": self._sweep_forever,
            # Those that do not answer take long: they are probed separately, so that the others are probed in time.
            "pulse": lambda: self._pulse_forever(ready=True),
            "pulse of those that were not ready": lambda: self._pulse_forever(ready=False),
            "drains": self._read_drains_forever,
        }
        self._swept_at = self._monotonic()
        clock = asyncio.get_running_loop().time
        # At each scrape, so that it also grows while no sweep comes.
        metrics.QUEUE_OLDEST.set_function(lambda: self._queue.oldest_seconds(clock()))
        self._tasks = [asyncio.create_task(supervised(name, loop), name=name) for name, loop in loops.items()]

    async def stop(self) -> None:
        """End sweeps and reconciles, and export nothing of any ChatCluster any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._queue.close()
        metrics.QUEUE_OLDEST.set_function(float)
        self._reconciler.withdraw()

    def check_alive(self) -> str:
        """How this process is. A standby is alive; the leader is judged by its sweeps, its queue and its watches.

        Raises:
            OperatorError: Something has not continued for too long.
        """
        if not self._tasks:
            return "standing by"
        age, oldest = self._monotonic() - self._swept_at, self._queue.oldest_seconds()
        silent = self._reconciler.cache.silent_seconds()
        for seconds, most, what in (
            (age, OLDEST_MAX_SECONDS, f"the last sweep was {age:.0f} s ago"),
            (oldest, OLDEST_MAX_SECONDS, f"a ChatCluster has waited {oldest:.0f} s to be reconciled"),
            (silent, SILENT_MAX_SECONDS, f"a watch of the API server has received nothing for {silent:.0f} s"),
        ):
            if seconds > most:
                raise OperatorError(what)
        return f"the last sweep was {age:.0f} s ago, the ChatCluster that waits longest has waited {oldest:.0f} s"

    async def _run(self, key: Key) -> None:
        with metrics.RECONCILE_SECONDS.time():
            await self._reconciler.reconcile(key)

    async def _pulse_forever(self, *, ready: bool) -> None:
        while True:
            await asyncio.sleep(max(PULSE_SECONDS, self._reconciler.known / PULSES_PER_SECOND))
            for key in await self._reconciler.turned(ready=ready):
                self._queue.wake(key)

    async def _read_drains_forever(self) -> None:
        while True:
            await asyncio.sleep(DRAIN_READ_SECONDS)
            await self._reconciler.read_drains()

    async def _sweep_forever(self) -> None:
        while True:
            for key in self._reconciler.chatclusters():
                self._queue.wake(key, urgent=False)
            self._swept_at = self._monotonic()
            metrics.LAST_SWEEP.set(self._unix_time())
            metrics.OLDEST_DUE.set(self._queue.oldest_seconds())
            await asyncio.sleep(SWEEP_SECONDS)


def _report(key: Key, error: Exception | None) -> None:
    if error is None:
        metrics.RECONCILES.labels(result="ok").inc()
        return
    metrics.RECONCILES.labels(result="error").inc()
    count_error(key)
    namespace, name = key
    if isinstance(error, OperatorError):
        log.warning("reconcile failed", namespace=namespace, name=name, code=error.code, error=str(error))
    else:
        log.error("reconcile failed", namespace=namespace, name=name, code="Unexpected", exc_info=error)
