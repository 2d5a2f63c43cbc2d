"""What many ask at once is answered together, and nobody's answer hangs on anybody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.batches import Batches
from chatserver.errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


class Oracle:
    """Answers with twice the number when it is let, and remembers what it was asked together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.failure: Exception | None = None

    async def answer(self, numbers: Sequence[int]) -> list[int]:
        self.asked.append(list(numbers))
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [2 * number for number in numbers]


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_questions_that_come_while_a_batch_runs_are_answered_together_by_the_next() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer, most=3)
    first = asyncio.create_task(batches.ask(1))
    await turns()
    others = [asyncio.create_task(batches.ask(number)) for number in (2, 3, 4, 5)]
    await turns()
    assert oracle.asked == [[1]]
    oracle.may_answer.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10]
    assert oracle.asked == [[1], [2, 3, 4], [5]]


async def test_who_got_an_answer_may_ask_again_at_once() -> None:
    oracle = Oracle()
    oracle.may_answer.set()
    batches = Batches(oracle.answer, most=3)
    async with asyncio.timeout(10):
        assert [await batches.ask(number) for number in range(5)] == [0, 2, 4, 6, 8]


async def test_no_more_batches_run_at_once_than_may() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer, most=1, at_once=2)
    asking = [asyncio.create_task(batches.ask(number)) for number in range(5)]
    await turns()
    assert oracle.asked == [[0], [1]]
    oracle.may_answer.set()
    assert await asyncio.gather(*asking) == [0, 2, 4, 6, 8]


async def test_a_failure_is_told_to_its_batch_and_the_next_one_is_answered() -> None:
    oracle = Oracle()
    oracle.failure = ServiceUnavailable("away")
    oracle.may_answer.set()
    batches = Batches(oracle.answer, most=10)
    failed = await asyncio.gather(batches.ask(1), batches.ask(2), return_exceptions=True)
    assert [type(error) for error in failed] == [ServiceUnavailable, ServiceUnavailable]
    # Each has its own: a traceback would grow with everybody who raises it.
    assert failed[0] is not failed[1]
    oracle.failure = None
    assert await batches.ask(3) == 6


async def test_who_gives_up_takes_nobody_along_and_is_not_asked_about() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer, most=10)
    asking = [asyncio.create_task(batches.ask(1))]
    await turns()
    asking += [asyncio.create_task(batches.ask(number)) for number in (2, 3)]
    await turns()
    asking[0].cancel()
    asking[1].cancel()
    await turns()
    oracle.may_answer.set()
    assert await asking[2] == 6
    assert oracle.asked == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await asking[0]
