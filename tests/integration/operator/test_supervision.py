"""An exception at each await of each loop of the operator is counted, costs its own work, and the loop goes on."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from chatoperator import controller, supervision
from chatoperator.kube import cache
from chatoperator.kube.workqueue import WorkQueue
from chatoperator.metrics.prometheus import REGISTRY
from tests.support.findings import tell
from tests.support.injection import Injector, within
from tests.support.operatorloops import looped_operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chatoperator.kube.lanes import Key, Lanes
    from tests.support.injection import Place
    from tests.support.operatorloops import LoopedOperator
    from tests.support.operators import Operator

    Fault = Callable[[], BaseException]

pytestmark = pytest.mark.integration


def _failures() -> dict[str, float]:
    """Failures that were counted, by loop; reconciles count as one."""
    found = {
        sample.labels["loop"]: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "chatcluster_loop_failures_total"
    }
    return found | {"reconcile": REGISTRY.get_sample_value("chatcluster_reconcile_total", {"result": "error"}) or 0.0}


def _changed(before: dict[str, float]) -> dict[str, float]:
    return {name: count - before.get(name, 0) for name, count in _failures().items() if count != before.get(name, 0)}


async def _inject_everywhere(operator: LoopedOperator, injector: Injector, loop: str, faults: Iterator[Fault]) -> int:
    """Throw at each place of a loop until its work meets no further one; returns how many there were."""
    places: dict[Place, None] = {}
    again = False
    while True:
        before, known = _failures(), len(places)
        injector.arm(loop, next(faults), again=again)
        with capture_logs() as logs:
            try:
                await operator.works[loop]()
            except TimeoutError as error:
                raise AssertionError(f"{loop} goes on no more after {injector.thrown}: {logs}") from error
            thrown = injector.thrown
            # A pass may fail after what shows the work, at its end.
            try:
                async with asyncio.timeout(20):
                    while _changed(before) == {} != dict.fromkeys(thrown):
                        await asyncio.sleep(0.01)
            except TimeoutError as error:
                raise AssertionError(f"nothing counts what was thrown at {thrown}: {logs}") from error
        places |= dict.fromkeys(thrown)
        assert _changed(before) == ({loop: len(thrown)} if thrown else {}), thrown
        told = [entry for entry in logs if entry["event"] in {"loop failed", "reconcile failed"}]
        assert len(told) == len(thrown), thrown
        if len(places) == known and again:
            injector.disarm()
            return len(places)
        again |= len(places) == known


FAULTS: dict[str, Fault] = {
    "RuntimeError": RuntimeError,
    "CancelledError": asyncio.CancelledError,
    "MemoryError": MemoryError,
    "ExceptionGroup": lambda: ExceptionGroup("several", [RuntimeError(), KeyError()]),
}

IN_TURN = "one after the other"
"""Another fault at each place."""

SHARE = 3
"""`make test` takes the first of three places; `make soak` all, with each fault."""


@pytest.mark.parametrize("fault", [IN_TURN, *(pytest.param(name, marks=pytest.mark.soak) for name in FAULTS)])
async def test_each_await_of_each_loop_may_fail(
    fault: str, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = itertools.cycle([FAULTS[fault]] if fault != IN_TURN else FAULTS.values())
    injector = Injector("chatoperator", share=SHARE if fault == IN_TURN else 1)
    for module in (cache, controller):
        monkeypatch.setattr(module, "supervised", injector.named(supervision.supervised))
    run = WorkQueue._run

    async def named(queue: WorkQueue, key: Key, lanes: Lanes) -> None:
        with within("reconcile"):
            await run(queue, key, lanes)

    monkeypatch.setattr(WorkQueue, "_run", named)
    with injector.points():
        async with looped_operator(operator, monkeypatch) as looped:
            thrown = {loop: await _inject_everywhere(looped, injector, loop, faults) for loop in looped.works}
    counts = ", ".join(f"{name} {places}" for name, places in thrown.items())
    tell(f"awaits of the operator's loops at which exceptions were thrown ({fault}): {counts}")
    assert all(thrown.values())
