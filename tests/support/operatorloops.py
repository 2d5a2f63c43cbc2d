"""An operator's controller on a real API server, whose loops go round quickly, and a piece of observable work each."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from chatoperator import controller, metrics, supervision
from chatoperator.controller import Controller
from chatoperator.kube import cache, client, lanes
from chatoperator.metrics.prometheus import REGISTRY
from chatoperator.observed import Answer, Reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

    from tests.support.operators import Operator

HAPPENS_SECONDS = 30.0
"""Far beyond what any of the work takes."""

LEAVING = "demo-chatserver-leaving"
"""A pod of a chatserver that drains."""

TURN_SECONDS = 0.05
"""A round of a loop, or a wait before it begins again."""

PERIODS: dict[Any, dict[str, Any]] = {
    supervision: {"RESTART_SECONDS": (TURN_SECONDS,)},
    cache: {"BACKOFF_SECONDS": (TURN_SECONDS,)},
    controller: {"PULSE_SECONDS": TURN_SECONDS, "SWEEP_SECONDS": TURN_SECONDS, "DRAIN_READ_SECONDS": TURN_SECONDS},
    client: {"WATCH_SECONDS": 1},
    lanes: {"BACKOFF_SECONDS": (TURN_SECONDS,), "COALESCE_SECONDS": 0},
}


class LoopedOperator:
    """The operator of one ChatCluster that has been brought up, whose only news come from its loops.

    Attributes:
        works: by loop, what shows that it goes on.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._numbers = itertools.count(3)
        self.works: dict[str, Callable[[], Awaitable[None]]] = {
            "watch ConfigMap": self._notices,
            "watch ChatCluster": self._follows_watching,
            "sweep": self._sweeps,
            "pulse": self._pulses,
            "drains": self._reads_drains,
            "reconcile": self._follows,
        }

    async def _notices(self) -> None:
        where = self._operator.namespace, "demo"
        number = str(next(self._numbers))
        await self._operator.kube.annotate("ConfigMap", where[0], "demo-ingress", {"test/number": number})

        async def is_noticed() -> bool:
            cached = self._operator.cache.owned(where)["ConfigMap", "demo-ingress"]
            return bool(cached["metadata"].get("annotations", {}).get("test/number") == number)

        await _until(is_noticed)
        await self._watches_again("ConfigMap")

    async def _watches_again(self, kind: str) -> None:
        """Until a watch has ended and another one was begun: each is a round of its loop."""
        seen = self._operator.cache._heard_at
        scope = next(scope for scope in seen if scope[0] == kind)
        before = seen[scope]

        async def is_heard() -> bool:
            return seen[scope] != before

        await _until(is_heard)

    async def _follows_watching(self) -> None:
        await self._follows()
        await self._watches_again("ChatCluster")

    async def _follows(self) -> None:
        replicas = 2 + next(self._numbers) % 2
        self._operator.patch({"ingress": {"replicas": replicas}})

        async def is_followed() -> bool:
            status = await self._operator.status()
            live = await self._operator.get("Deployment", "demo-ingress")
            generation = (await self._operator.get("ChatCluster", "demo"))["metadata"]["generation"]
            return bool(status["observedGeneration"] == generation and live["spec"]["replicas"] == replicas)

        await _until(is_followed)

    async def _sweeps(self) -> None:
        before = metrics.LAST_SWEEP._value.get()

        async def is_swept() -> bool:
            return bool(metrics.LAST_SWEEP._value.get() != before)

        await _until(is_swept)

    async def _pulses(self) -> None:
        prober = self._operator.prober
        before = len(prober.asked)
        prober.answer = Answer(ok=not prober.answer.ok, message="it turned")

        async def is_noticed() -> bool:
            return len(prober.asked) > before + 1

        await _until(is_noticed)

    async def _reads_drains(self) -> None:
        count = next(self._numbers)
        self._operator.prober.connections = {LEAVING: Reading(1, draining=True, forced_closes=count)}
        labels = {"namespace": self._operator.namespace, "name": "demo"}

        async def is_read() -> bool:
            closes = REGISTRY.get_sample_value("chatcluster_drain_forced_closes_total", labels)
            return closes is not None and closes >= count

        await _until(is_read)


@asynccontextmanager
async def looped_operator(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopedOperator]:
    """Bring a ChatCluster up, then run a controller's loops, whose rounds take no time."""
    await operator.brought_up()
    operator.pod(LEAVING, node="node-a")
    # So long that its node does not count as lost.
    operator.kubectl("delete", "pod", LEAVING, "--wait=false", "--grace-period=3600")
    for module, periods in PERIODS.items():
        for name, seconds in periods.items():
            monkeypatch.setattr(module, name, seconds)
    operator.restart()
    operator.cache._monotonic = time.monotonic
    running = Controller(operator.reconciler, monotonic=time.monotonic, unix_time=time.time)
    running.start()
    try:
        await operator.cache.filled(operator.namespace)
        yield LoopedOperator(operator)
    finally:
        await running.stop()


async def _until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(HAPPENS_SECONDS):
        while not await happened():
            await asyncio.sleep(0.01)
