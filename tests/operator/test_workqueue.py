"""The keyed queue: one run per key at a time, wakes coalesce, failures back off and are tried again."""

from __future__ import annotations

import asyncio

import pytest

from chatoperator.kube import lanes, workqueue
from chatoperator.kube.workqueue import Key, WorkQueue

ONE, TWO = ("chat", "one"), ("chat", "two")


class Work:
    """Counts its runs; a run lasts until the test lets it go."""

    def __init__(self) -> None:
        self.runs: list[Key] = []
        self.running: set[Key] = set()
        self.overlapped = False
        self.release = asyncio.Event()
        self.failures = 0
        self.changed = asyncio.Condition()
        self.reports: list[Exception | None] = []

    async def __call__(self, key: Key) -> None:
        self.overlapped |= key in self.running
        self.running.add(key)
        self.runs.append(key)
        await self._tell()
        try:
            await self.release.wait()
        finally:
            self.running.discard(key)
        if self.failures:
            self.failures -= 1
            raise ValueError("not this time")

    def report(self, _: Key, error: Exception | None) -> None:
        self.reports.append(error)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def ran(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.runs) >= count)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "COALESCE_SECONDS", 0)
    monkeypatch.setattr(lanes, "BACKOFF_SECONDS", (0,))


async def test_a_burst_of_wakes_is_one_run_and_a_wake_during_it_one_more() -> None:
    work = Work()
    queue = WorkQueue(work, work.report)
    for _ in range(50):
        queue.wake(ONE)
    await work.ran(1)
    for _ in range(50):
        queue.wake(ONE)
    work.release.set()
    await work.ran(2)
    await asyncio.sleep(0.05)
    assert work.runs == [ONE, ONE]
    assert not work.overlapped
    await queue.close()


async def test_keys_do_not_wait_for_each_other() -> None:
    work = Work()
    queue = WorkQueue(work, work.report)
    queue.wake(ONE)
    queue.wake(TWO)
    await work.ran(2)
    assert work.running == {ONE, TWO}
    await queue.close()
    assert work.running == set()


async def test_a_failure_is_reported_and_tried_again_until_it_succeeds() -> None:
    work = Work()
    work.release.set()
    work.failures = 3
    queue = WorkQueue(work, work.report)
    queue.wake(ONE)
    await work.ran(4)
    await asyncio.sleep(0.05)
    assert [type(error) for error in work.reports] == [ValueError, ValueError, ValueError, type(None)]
    queue.wake(ONE)
    await work.ran(5)
    await queue.close()


async def test_only_so_many_run_at_once_and_what_happened_goes_before_what_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "QUICK_RUNS", 3)
    work = Work()
    queue = WorkQueue(work, work.report)
    due = [("chat", f"due-{number}") for number in range(10)]
    for key in due:
        queue.wake(key, urgent=False)
    await work.ran(3)
    await asyncio.sleep(0.05)
    assert work.running == set(due[:3])
    queue.wake(ONE)
    queue.wake(due[8])
    await asyncio.sleep(0.05)
    work.release.set()
    await work.ran(11)
    await asyncio.sleep(0.05)
    assert set(work.runs[3:6]) == {due[8], ONE, due[3]}, "every fourth is one that is due"
    assert work.runs[6:] == [*due[4:8], due[9]]
    await queue.close()


async def test_a_slow_one_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "QUICK_RUNS", 1)
    monkeypatch.setattr(workqueue, "SLOW_SECONDS", 0)
    work = Work()
    queue = WorkQueue(work, work.report)
    queue.wake(ONE)
    queue.wake(TWO)
    await work.ran(2)
    assert work.running == {ONE, TWO}
    await queue.close()


async def test_a_run_that_never_ends_by_itself_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "RUN_SECONDS_MAX", 0.01)
    work = Work()
    queue = WorkQueue(work, work.report)
    queue.wake(ONE)
    await work.ran(2)
    assert isinstance(work.reports[0], TimeoutError)
    await queue.close()


async def test_neither_a_stray_cancellation_nor_a_report_that_fails_ends_a_key() -> None:
    ran = asyncio.Event()
    runs = 0

    async def work(_: Key) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise asyncio.CancelledError
        ran.set()

    def report(_: Key, error: Exception | None) -> None:
        if error is not None:
            raise ValueError("it cannot be told")

    queue = WorkQueue(work, report)
    queue.wake(ONE)
    async with asyncio.timeout(10):
        await ran.wait()
    await queue.close()


async def test_a_sweep_makes_nobody_wait_who_failed_and_forgets_nobody() -> None:
    work = Work()
    work.release.set()
    work.failures = 1
    queue = WorkQueue(work, work.report)
    queue.wake(ONE, urgent=False)
    for _ in range(20):
        queue.wake(ONE, urgent=False)
        await asyncio.sleep(0.005)
    assert len(work.runs) >= 2
    assert not work.overlapped
    await queue.close()
