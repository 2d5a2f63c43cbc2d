"""A loop goes on, whatever it raises; that is logged and counted."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from chatoperator import supervision
from chatoperator.errors import KubeError
from chatoperator.metrics.prometheus import REGISTRY
from chatoperator.supervision import supervised

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS: list[Callable[[], BaseException]] = [
    lambda: KubeError("no"),
    lambda: ValueError("a line of 64 KiB"),
    lambda: RecursionError("deep"),
    MemoryError,
    lambda: json.JSONDecodeError("no", "{", 1),
    lambda: asyncio.CancelledError("not of this task"),
    lambda: ExceptionGroup("several", [TypeError("one")]),
]


def counted(loop: str) -> float:
    return REGISTRY.get_sample_value("chatcluster_loop_failures_total", {"loop": loop}) or 0.0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault()).__name__)
async def test_a_loop_begins_anew_after_whatever_it_raises(
    fault: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "RESTART_SECONDS", (0,))
    before, turns, again = counted("test"), 0, asyncio.Event()

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns <= 3:
            raise fault()
        again.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(supervised("test", work))
    async with asyncio.timeout(10):
        await again.wait()
    assert counted("test") - before == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_ends_where_it_is_cancelled_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RESTART_SECONDS", (3600,))
    failed = asyncio.Event()

    async def work() -> None:
        failed.set()
        raise ValueError

    task = asyncio.create_task(supervised("test", work))
    await failed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_ends_where_it_fails_while_it_is_cancelled() -> None:
    before, begun = counted("test"), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    task = asyncio.create_task(supervised("test", work))
    await begun.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=20)
    assert done
    assert task.cancelled()
    assert counted("test") - before == 1
