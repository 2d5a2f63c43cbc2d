"""Transmits what waits in the outbox, in order and no more at a time than the server takes."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from chatcluster_client.backoff import around
from chatcluster_client.frames import ErrorFrame
from chatcluster_client.model import Ack, Problem, wait_seconds
from chatcluster_client.outbox import Outbox, PendingSend

IN_FLIGHT_DEFAULT = 64
"""Sends without an answer on a connection whose `welcome` names no limit."""

IN_FLIGHT_SPARE = 8
"""Kept free of the server's `max_in_flight`, which counts syncs too: beyond it frames are refused, and
the server closes a connection with many refusals in a row."""


class Sender:
    """Carries the sends of one client over its connections.

    Args:
        outbox: What waits.
        transmit: Gives a frame to the connection; does nothing without one.
        spawn: Starts a supervised task.
    """

    def __init__(
        self,
        outbox: Outbox,
        transmit: Callable[[dict[str, Any]], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._outbox = outbox
        self._transmit = transmit
        self._spawn = spawn
        self._window = 0
        self._queue: deque[PendingSend] = deque()
        self._in_flight: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Transmit whatever may be, for ever: one task, so that the sends keep their order."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (pending := self._take()) is not None:
                await self._transmit(pending.frame)

    def begin(self, limits: dict[str, int]) -> None:
        """Take a new connection's limits, and send again what was not acknowledged."""
        self._outbox.set_limit(limits.get("max_frame_bytes"))
        self._window = max(1, limits.get("max_in_flight", IN_FLIGHT_DEFAULT + IN_FLIGHT_SPARE) - IN_FLIGHT_SPARE)
        self._in_flight.clear()
        self._queue = deque(self._outbox.waiting())
        self._wake.set()

    def end(self) -> None:
        """Transmit nothing until the next connection."""
        self._window = 0

    def add(self, pending: PendingSend) -> None:
        """Transmit a new send when its turn comes."""
        self._queue.append(pending)
        self._wake.set()

    def acknowledge(self, ack: Ack) -> dict[str, Any] | None:
        """Resolve a send; returns its frame, None for one that nobody waits for."""
        pending = self._answered(ack.id)
        if pending is None:
            return None
        pending.result.set_result(ack)
        self._outbox.learn_chat(pending.frame.get("to"), ack.chat_id)
        return pending.frame

    def refuse(self, message_id: str, error: ErrorFrame) -> None:
        """Fail a send, or send it again later when that can help."""
        problem = Problem(0, error.code, error.detail, error.retry_after_seconds)
        pending = self._answered(message_id)
        if pending is None:
            return
        if problem.retryable:
            self._spawn(self._again_after(wait_seconds(problem), pending))
        else:
            pending.result.set_exception(problem)

    async def _again_after(self, seconds: float, pending: PendingSend) -> None:
        await asyncio.sleep(around(seconds, random.random()))  # noqa: S311 - jitter, not a secret
        # A new connection may have sent it again meanwhile.
        if pending.message_id not in self._in_flight and pending not in self._queue:
            self.add(pending)

    def _answered(self, message_id: str) -> PendingSend | None:
        self._in_flight.discard(message_id)
        self._wake.set()
        return self._outbox.get(message_id)

    def _take(self) -> PendingSend | None:
        """Return the next send that may be transmitted now, and count it as under way."""
        # Who gave up waiting has no answer to come, and must not hold a place for ever.
        self._in_flight = {message_id for message_id in self._in_flight if self._outbox.get(message_id) is not None}
        while self._queue and len(self._in_flight) < self._window:
            pending = self._queue.popleft()
            if not pending.result.done():
                self._in_flight.add(pending.message_id)
                return pending
        return None
