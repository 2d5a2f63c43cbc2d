"""Isolates unexpected exceptions: each is logged and counted, fails only its own work, and loops continue.

A defect that one row, socket or user triggers follows them to any server: a server that stopped for it would pass it to
the next one, and so on through all of them. So nothing here stops the process.
"""

from __future__ import annotations

import asyncio
import collections
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from chatserver.errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

Item = TypeVar("Item")

log = structlog.get_logger()

# Wait before a loop that failed begins again: short at first, since what failed may have been a single case.
RESTART_SECONDS = 0.2
RESTART_MAX_SECONDS = 30.0
# A loop that ran for so long without a failure is well again.
WELL_SECONDS = 60.0
# Frames of a traceback in a log line, the innermost ones.
FRAMES = 12

_defects: collections.Counter[str] = collections.Counter()


def defects() -> dict[str, int]:
    """Return the number of unexpected exceptions caught in this process, by log event."""
    return dict(_defects)


def caught(event: str, error: BaseException, **fields: object) -> None:
    """Log and count an unexpected exception.

    The line has the exception's type and where it came from, never its text: PostgreSQL and parsers quote values in
    theirs, and values are messages.

    Args:
        event: names the work that is lost, such as ``batch_failed``.
        error: what was caught.
        fields: ids for the log line.
    """
    _defects[event] += 1
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    at = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    log.error(event, error=type(error).__name__, sqlstate=getattr(error, "sqlstate", None), at=at, **fields)


async def keep(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a loop until it returns or is cancelled; restart it whenever it fails.

    Args:
        name: of the loop, for the log line ``loop_failed``.
        work: the loop; what it shall remember across a failure is not in its local variables.
    """
    wait_seconds = 0.0
    while True:
        began = time.monotonic()
        try:
            await asyncio.sleep(wait_seconds)
            await work()
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            # Somebody else's cancellation that leaked out of what was awaited.
            failure: BaseException = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop continues
            failure = error
        else:
            return
        was_well = time.monotonic() - began >= wait_seconds + WELL_SECONDS
        wait_seconds = min(wait_seconds * 2, RESTART_MAX_SECONDS) if wait_seconds and not was_well else RESTART_SECONDS
        caught("loop_failed", failure, loop=name, again_in_seconds=wait_seconds)
        if is_cancelled():
            # It failed while it was being cancelled: a restart would prevent the server from stopping.
            raise asyncio.CancelledError from failure


def is_cancelled() -> bool:
    """Return whether the running task is being cancelled; else a CancelledError leaked out of what it awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


@contextmanager
def isolated(event: str, **fields: object) -> Iterator[None]:
    """Let a failure end only the block; it is logged and counted.

    Args:
        event: as of `caught`.
        fields: ids for the log line.

    Raises:
        ServiceUnavailable: an outage is not a defect; callers handle it themselves.
    """
    try:
        yield
    except ServiceUnavailable:
        raise
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        caught(event, error, **fields)
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends here
        caught(event, error, **fields)


async def apart(event: str, items: Sequence[Item], work: Callable[[Sequence[Item]], Awaitable[None]]) -> list[Item]:
    """Do work on all items at once; if that fails, on each of them separately.

    Args:
        event: as of `caught`.
        items: what to work on.
        work: may fail after a part of it is done, so it must be repeatable.

    Returns:
        The items that fail on their own.

    Raises:
        ServiceUnavailable: as of `isolated`.
    """
    if not items:
        return []
    done = False
    with isolated(event, items=len(items)):
        await work(items)
        done = True
    if done:
        return []
    if len(items) == 1:
        return list(items)
    return [failed for item in items for failed in await apart(event, [item], work)]


def start(event: str, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """Start work that nobody awaits; its failure is logged and counted.

    Args:
        event: log event if it fails.
        work: what to do.
        tasks: holds the task until it is done, so that it is not garbage-collected.
    """
    task = asyncio.create_task(work, name=event)
    tasks.add(task)

    def done(ended: asyncio.Task[None]) -> None:
        tasks.discard(ended)
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            caught(event, error)

    task.add_done_callback(done)
    return task
