"""Keeps loops going: what one of them raises is logged and counted, and it begins again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RESTART_SECONDS = (1, 2, 4, 8, 15)
"""Waits after failures in a row; the last repeats."""

STEADY_SECONDS = 60
"""A loop that has run for so long before it failed has not failed in a row."""

log = structlog.get_logger(__name__)


async def supervised(loop: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a loop until cancelled, whatever it raises.

    Args:
        loop: Its name in logs and in the metric chatcluster_loop_failures_total.
        work: The loop, from its beginning.
    """
    failures, wait_seconds = 0, 0
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            await asyncio.sleep(wait_seconds)
            began = clock()
            await work()
        except asyncio.CancelledError as error:
            # Of this task, or of something that it awaited and that somebody else has cancelled.
            if is_cancelled():
                raise
            failed(loop, error)
        except Exception as error:
            failed(loop, error)
            if is_cancelled():
                # It failed while it ended: beginning it again would keep the process from ending.
                raise asyncio.CancelledError from error
        if clock() - began >= STEADY_SECONDS:
            failures = 0
        wait_seconds = RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)]
        failures += 1


def failed(loop: str, error: BaseException, **about: str | None) -> None:
    """Log and count an unexpected error.

    Args:
        loop: The loop's name.
        error: What was raised.
        about: What it was about.
    """
    metrics.LOOP_FAILURES.labels(loop=loop).inc()
    log.error("loop failed", loop=loop, exc_info=error, **about)


def is_cancelled() -> bool:
    """Whether the current task itself is to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
