"""Concurrent requests are processed in batches, and no result depends on another request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.batches import Batches
from chatserver.errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


class Oracle:
    """Answers with twice the number when it is let, and records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.failure: Exception | None = None

    async def answer(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [2 * number for number in numbers]


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_that_arrive_while_a_batch_runs_form_the_next() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer, most=3)
    first = asyncio.create_task(batches.submit(1))
    await turns()
    others = [asyncio.create_task(batches.submit(number)) for number in (2, 3, 4, 5)]
    await turns()
    assert oracle.batches == [[1]]
    oracle.may_answer.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10]
    assert oracle.batches == [[1], [2, 3, 4], [5]]


async def test_a_caller_with_a_result_may_submit_again_at_once() -> None:
    oracle = Oracle()
    oracle.may_answer.set()
    batches = Batches(oracle.answer, most=3)
    async with asyncio.timeout(10):
        assert [await batches.submit(number) for number in range(5)] == [0, 2, 4, 6, 8]


async def test_no_more_batches_run_at_once_than_may() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer, most=1, at_once=2)
    submitted = [asyncio.create_task(batches.submit(number)) for number in range(5)]
    await turns()
    assert oracle.batches == [[0], [1]]
    oracle.may_answer.set()
    assert await asyncio.gather(*submitted) == [0, 2, 4, 6, 8]


async def test_a_failure_reaches_each_caller_of_its_batch_and_the_next_batch_succeeds() -> None:
    oracle = Oracle()
    oracle.failure = ServiceUnavailable("unavailable")
    oracle.may_answer.set()
    batches = Batches(oracle.answer, most=10)
    failed = await asyncio.gather(batches.submit(1), batches.submit(2), return_exceptions=True)
    assert [type(error) for error in failed] == [ServiceUnavailable, ServiceUnavailable]
    # Each has its own: a traceback would grow with everybody who raises it.
    assert failed[0] is not failed[1]
    oracle.failure = None
    assert await batches.submit(3) == 6


async def test_a_cancelled_caller_cancels_no_other_and_is_left_out_of_the_batch() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer, most=10)
    submitted = [asyncio.create_task(batches.submit(1))]
    await turns()
    submitted += [asyncio.create_task(batches.submit(number)) for number in (2, 3)]
    await turns()
    submitted[0].cancel()
    submitted[1].cancel()
    await turns()
    oracle.may_answer.set()
    assert await submitted[2] == 6
    assert oracle.batches == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await submitted[0]
