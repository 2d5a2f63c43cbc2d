"""An idle server does not sweep: the probe of its listening connection sees whether hints were left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from chatserver.fanout.sweeping import STALE_SECONDS, HintSweep
from chatserver.hints import Hint
from chatserver.metrics import Metrics
from chatserver.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chatserver.storage.calls import CallTimes

pytestmark = pytest.mark.integration

HAPPENS_SECONDS = 10.0


class Counted:
    """A database whose calls are counted, and its sweep."""

    def __init__(self, read_dsn: Callable[[], str]) -> None:
        self.calls = 0
        self.database = Database(read_dsn, server_name="one", on_call=self._count)
        self.sweep = HintSweep(self.database, Metrics().delivery)

    def _count(self, _call: CallTimes) -> None:
        self.calls += 1

    async def until(self, calls: int) -> None:
        """Wait for so many calls, and then until nothing is ready to run."""
        async with asyncio.timeout(HAPPENS_SECONDS):
            while self.calls < calls:
                await asyncio.sleep(0.001)
        await self.settle()

    async def settle(self) -> None:
        """Have everything run that is ready."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def leave(self) -> None:
        """Leave a hint, as a server that ended."""
        await self.database.execute(
            "INSERT INTO hint_slots (owner, slot, batch, written_at, hint) "
            "VALUES ('gone', 1, 1, now() - make_interval(secs => $1), $2)",
            STALE_SECONDS + 1,
            Hint("gone", profiles=(0,)).encode()[0],
        )


@pytest.fixture
async def counted(read_dsn: Callable[[], str]) -> AsyncIterator[Counted]:
    counted = Counted(read_dsn)
    await counted.database.open()
    yield counted
    await counted.database.close()


async def test_a_probe_sees_whether_hints_were_left(counted: Counted) -> None:
    looks = counted.database.looks
    listener = await counted.database.listen(lambda _: None)
    try:
        assert await listener.ping() > 0
        assert not looks.take(), "before the first sweep the table may not be there"
        looks.stale_seconds = STALE_SECONDS
        assert await listener.ping() > 0
        assert looks.take()
        assert not looks.take(), "a look counts once"
        await counted.leave()
        counted.database.hints.wake.clear()
        await listener.ping()
        assert counted.database.hints.wake.is_set()
        assert not looks.take()
    finally:
        listener.close()


async def test_a_sweep_follows_a_look_that_saw_something_and_no_other(counted: Counted) -> None:
    looks = counted.database.looks
    sweeping = asyncio.create_task(counted.sweep.run())
    try:
        await counted.until(1)
        assert counted.calls == 1, "the first sweep has no look before it"
        for _ in range(3):
            looks.saw(left=False)
            await counted.settle()
        assert counted.calls == 1
        await counted.leave()
        looks.saw(left=True)
        # To leave it, to claim it, to publish it, and to remove it.
        await counted.until(5)
        assert counted.calls == 5
        assert await counted.database.fetch("SELECT FROM hint_slots") == []
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping


async def test_without_looks_a_server_sweeps_by_the_clock(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatserver.fanout.sweeping.SWEEP_SECONDS", 0.01)
    sweeping = asyncio.create_task(counted.sweep.run())
    try:
        await counted.until(3)
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
