"""The controller: what queues a reconcile, and that one which fails keeps no other from running."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from chatoperator import controller as controller_module
from chatoperator.controller import Controller
from chatoperator.errors import KubeError
from chatoperator.kube import lanes
from chatoperator.metrics.prometheus import REGISTRY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chatoperator.kube.lanes import Key

ONE, OTHER, NEW = ("chat", "one"), ("chat", "other"), ("chat", "new")


class FakeCache:
    """A cache whose watches deliver what the test says.

    Attributes:
        wake: What the controller gave it.
    """

    def __init__(self) -> None:
        self.wake: Callable[[Key], None] | None = None
        self.runs = asyncio.Event()

    def silent_seconds(self) -> float:
        """It was heard just now."""
        return 0

    async def run(self, wake: Callable[[Key], None]) -> None:
        """As of `Cache.run`."""
        self.wake = wake
        self.runs.set()
        await asyncio.Event().wait()


class FakeReconciler:
    """Two ChatClusters.

    Attributes:
        changed: Those whose reachability has changed, by whether they were ready.
        faults: By ChatCluster, what its next reconcile raises.
        done: Reconciles that have begun.
        withdrawn: Whether the series of all ChatClusters were withdrawn.
    """

    known = 2

    def __init__(self) -> None:
        self.cache = FakeCache()
        self.changed: dict[bool, list[Key]] = {True: [], False: []}
        self.faults: dict[Key, Exception] = {}
        self.withdrawn = False
        self.done: asyncio.Queue[Key] = asyncio.Queue()

    def chatclusters(self) -> list[Key]:
        """Both."""
        return [ONE, OTHER]

    async def turned(self, *, ready: bool) -> list[Key]:
        """Each change once."""
        found, self.changed[ready] = self.changed[ready], []
        return found

    async def read_drains(self) -> None:
        """None drains."""

    def withdraw(self) -> None:
        """Note that nothing is to be exported any more."""
        self.withdrawn = True

    async def reconcile(self, key: Key) -> None:
        """Note it, and fail where the test says so."""
        self.done.put_nowait(key)
        if key in self.faults:
            raise self.faults.pop(key)

    async def next(self, count: int) -> set[Key]:
        """The next ChatClusters that are reconciled."""
        async with asyncio.timeout(20):
            return {await self.done.get() for _ in range(count)}


@pytest.fixture
async def reconciler(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeReconciler]:
    monkeypatch.setattr(lanes, "COALESCE_SECONDS", 0)
    monkeypatch.setattr(lanes, "BACKOFF_SECONDS", (0,))
    monkeypatch.setattr(controller_module, "PULSE_SECONDS", 0.01)
    made = FakeReconciler()
    controller = Controller(cast("Any", made), monotonic=lambda: 0, unix_time=lambda: 0)
    controller.start()
    yield made
    await controller.stop()


def count(result: str) -> float:
    return REGISTRY.get_sample_value("chatcluster_reconcile_total", {"result": result}) or 0.0


async def test_a_sweep_reconciles_all_and_an_event_the_one_that_changed(reconciler: FakeReconciler) -> None:
    assert await reconciler.next(2) == {ONE, OTHER}
    await reconciler.cache.runs.wait()
    assert reconciler.cache.wake is not None
    reconciler.cache.wake(NEW)
    assert await reconciler.next(1) == {NEW}


@pytest.mark.parametrize("ready", [True, False])
async def test_a_changed_reachability_is_reconciled_between_sweeps(reconciler: FakeReconciler, *, ready: bool) -> None:
    await reconciler.next(2)
    reconciler.changed[ready] = [OTHER]
    assert await reconciler.next(1) == {OTHER}


@pytest.mark.parametrize("fault", [KubeError("no", 500), RuntimeError("a defect")])
async def test_a_reconcile_that_fails_is_counted_and_retried_and_delays_no_other(
    reconciler: FakeReconciler, fault: Exception
) -> None:
    failed = count("error")
    reconciler.faults[ONE] = fault
    assert await reconciler.next(3) == {ONE, OTHER}
    assert count("error") == failed + 1


async def test_the_age_of_the_queue_is_that_of_the_scrape_and_nothing_is_exported_after_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the event loop hangs: the page is made in a thread of its own."""
    monkeypatch.setattr(lanes, "COALESCE_SECONDS", 0)
    monkeypatch.setattr(lanes, "QUICK_RUNS", 0)
    made = FakeReconciler()
    controller = Controller(cast("Any", made), monotonic=lambda: 0, unix_time=lambda: 0)
    controller.start()

    def oldest() -> float | None:
        return REGISTRY.get_sample_value("chatcluster_queue_oldest_seconds")

    def grows() -> bool:
        """In a thread."""
        first = oldest()
        return first is not None and any((oldest() or 0) > first for _ in range(1000))

    async with asyncio.timeout(20):
        while not oldest():
            await asyncio.sleep(0)
    growing = threading.Thread(target=lambda: found.append(grows()))
    found: list[bool] = []
    growing.start()
    growing.join()
    await controller.stop()
    assert found == [True]
    assert oldest() == 0
    assert made.withdrawn
