"""Keeps reconciles coming: wakes from watches, a sweep every 15 s, and the age of the last sweep for liveness."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import OperatorError
from chatoperator.manifests.metadata import INSTANCE_LABEL
from chatoperator.workqueue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chatoperator.reconcile import Reconciler
    from chatoperator.workqueue import Key

SWEEP_SECONDS = 15
"""What no watch told comes to light within this; also the autoscaler's tick."""

SWEEP_AGE_MAX_SECONDS = 90
"""Several sweeps in a row failed or hang: kubelet should start the operator anew."""

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
        """Begin, as the leader, to sweep, and to look between the sweeps whether the chats still answer."""
        self._swept_at = self._monotonic()
        self._tasks = [
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

    def wake(self, namespace: str | None, name: str | None) -> None:
        """Reconcile a ChatCluster soon."""
        if namespace and name:
            self._queue.wake((namespace, name))

    def wake_owner(self, namespace: str | None, labels: Mapping[str, str]) -> None:
        """Reconcile the ChatCluster that a child with these labels belongs to."""
        self.wake(namespace, labels.get(INSTANCE_LABEL))

    def sweep_age_seconds(self) -> float:
        """Seconds since the last complete sweep."""
        return self._monotonic() - self._swept_at

    def check_alive(self) -> str:
        """How this process is, in words. A standby is alive; of the leader the age of its last sweep tells.

        Raises:
            OperatorError: It is too old.
        """
        if not self._tasks:
            return "standing by"
        age = self.sweep_age_seconds()
        if age > SWEEP_AGE_MAX_SECONDS:
            raise OperatorError(f"the last sweep was {age:.0f} s ago")
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
                    self._queue.wake(key)
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
