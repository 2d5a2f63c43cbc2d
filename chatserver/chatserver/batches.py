"""Combines concurrent requests into batches: requests that arrive while a batch runs form the next one."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from chatserver.errors import ServiceUnavailable
from chatserver.supervision import caught, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

Request = TypeVar("Request")
Result = TypeVar("Result")


class Batches(Generic[Request, Result]):
    """Batches that grow with the load: a request that arrives while nothing runs starts at once.

    A result is never older than its request: a request that arrives while a batch runs becomes part of a later one.

    Args:
        process: returns the results of a batch, in its order.
        most: requests of a batch at most.
        at_once: batches that run at the same time at most; each may take a connection of the pool.
    """

    def __init__(
        self, process: Callable[[Sequence[Request]], Awaitable[Sequence[Result]]], *, most: int, at_once: int = 1
    ) -> None:
        self._process = process
        self._most = most
        self._at_once = at_once
        self._waiting: deque[tuple[Request, asyncio.Future[Result]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, request: Request) -> Result:
        """Return the result of a request.

        Raises:
            ServiceUnavailable: the server is stopping.
            Exception: whatever ``process`` raised for this request alone.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if len(self._running) < self._at_once:
            # A separate task: a caller that is cancelled while it waits must not cancel the others' batch.
            self._running.add(asyncio.create_task(self._run(), name="batch"))
        return await future

    async def _run(self) -> None:
        try:
            while batch := self._take():
                await self._process_batch(batch)
        finally:
            # Here and not in a done callback: a caller that just got its result may submit again before that runs.
            self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _process_batch(self, batch: Sequence[tuple[Request, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._process([request for request, _ in batch])
            pairs = list(zip(batch, results, strict=True))
        except asyncio.CancelledError as error:
            fail((future for _, future in batch), ServiceUnavailable())
            if is_cancelled():
                raise
            caught("batch_failed", error, requests=len(batch))
        except ServiceUnavailable as error:
            fail((future for _, future in batch), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers that wait must get it
            caught("batch_failed", error, requests=len(batch))
            if len(batch) == 1:
                fail((future for _, future in batch), error)
                return
            # One by one, so that a request that fails does not fail the others.
            for single in batch:
                await self._process_batch([single])
        else:
            for (_, future), result in pairs:
                if not future.done():
                    future.set_result(result)

    def _take(self) -> list[tuple[Request, asyncio.Future[Result]]]:
        batch: list[tuple[Request, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._most:
            request, future = self._waiting.popleft()
            # A caller that was cancelled needs no result.
            if not future.done():
                batch.append((request, future))
        return batch


def fail(waiting: Iterable[asyncio.Future[Result]], error: Exception) -> None:
    """Raise an error at each caller that still waits; each gets a copy, so that no traceback is shared."""
    for future in waiting:
        if not future.done():
            future.set_exception(copy.copy(error))
