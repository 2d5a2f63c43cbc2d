"""Answers what many ask at once: what is asked while others are being answered is answered together, next."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from chatserver.errors import ServiceUnavailable
from chatserver.supervision import caught, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batches(Generic[Question, Answer]):
    """Batches as large as the load makes them: who asks while nothing runs waits for nobody.

    An answer is never older than its question: whoever asks while a batch runs goes with a later one.

    Args:
        answer: answers a batch, in its order.
        most: questions of a batch at most.
        at_once: batches under way at most; so many connections of the pool they take.
    """

    def __init__(
        self, answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], *, most: int, at_once: int = 1
    ) -> None:
        self._answer = answer
        self._most = most
        self._at_once = at_once
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question) -> Answer:
        """Return the answer.

        Raises:
            ServiceUnavailable: the server ends.
            Exception: whatever ``answer`` raised for this question alone.
        """
        told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, told))
        if len(self._running) < self._at_once:
            # A task of its own: one who goes away while waiting does not take the others' answers along.
            self._running.add(asyncio.create_task(self._run(), name="batch"))
        return await told

    async def _run(self) -> None:
        try:
            while batch := self._take():
                await self._answer_batch(batch)
        finally:
            # Here and not when the task is done: who has just got an answer may ask again before that.
            self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _answer_batch(self, batch: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer([question for question, _ in batch])
            pairs = list(zip(batch, answers, strict=True))
        except asyncio.CancelledError as error:
            fail((told for _, told in batch), ServiceUnavailable())
            if is_cancelled():
                raise
            caught("batch_not_answered", error, questions=len(batch))
        except ServiceUnavailable as error:
            fail((told for _, told in batch), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            caught("batch_not_answered", error, questions=len(batch))
            if len(batch) == 1:
                fail((told for _, told in batch), error)
                return
            # Each by itself: what one question provokes is no other's failure.
            for single in batch:
                await self._answer_batch([single])
        else:
            for (_, told), answer in pairs:
                if not told.done():
                    told.set_result(answer)

    def _take(self) -> list[tuple[Question, asyncio.Future[Answer]]]:
        batch: list[tuple[Question, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._most:
            question, told = self._waiting.popleft()
            # Whoever gave up waiting needs no answer.
            if not told.done():
                batch.append((question, told))
        return batch


def fail(waiting: Iterable[asyncio.Future[Answer]], error: Exception) -> None:
    """Give each who still waits the error, and a copy of its own: a traceback would grow with all who raise it."""
    for told in waiting:
        if not told.done():
            told.set_exception(copy.copy(error))
