"""A blocked event loop shows in its lag, since everything waits for so long."""

from __future__ import annotations

import asyncio
import contextlib
import time

from chatserver import loops
from chatserver.metrics import Metrics

BLOCKED_SECONDS = 0.2


async def test_a_blocked_event_loop_shows_in_its_lag() -> None:
    metrics = Metrics().process
    before = time.time()
    watching = asyncio.create_task(loops._watch_lag(metrics))
    await asyncio.sleep(0)
    time.sleep(loops.LAG_SECONDS + BLOCKED_SECONDS)  # noqa: ASYNC251 - what a defect would do
    while not metrics.loop_lag_seconds.count:
        await asyncio.sleep(0)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    assert metrics.loop_lag_seconds.sum >= BLOCKED_SECONDS
    assert metrics.loop_ran_at.value >= before + BLOCKED_SECONDS
