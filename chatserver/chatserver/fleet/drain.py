"""Drain of this server: the steps from SIGTERM to the last closed socket."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import structlog

from chatserver.protocol import CLOSE_RESTART

if TYPE_CHECKING:
    from chatserver.fanout.hub import Hub
    from chatserver.fleet.health import Health
    from chatserver.fleet.moving import Mover
    from chatserver.messaging.writer import MessageWriter
    from chatserver.settings import Settings

log = structlog.get_logger()

# The end of drainSeconds, in which no client reconnects any more: writes finish in it and the last sockets close.
CLOSING_SECONDS = 5.0
# Of that, for the last clients' own closing handshakes: clients that close themselves need no 1012.
LATE_SHARE = 0.25
# Sends are answered as soon as the writer is closed; watermarks may be waiting for a database that is unavailable.
ANSWERS_SECONDS = 0.5
# Between checks whether all clients have left.
POLL_SECONDS = 0.1


class Drain:
    """Carries out one drain.

    Args:
        mover: moves the clients.
        answers: work under way whose result goes to a socket.
        hurry: set by a second SIGTERM: close at once, still in order.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        health: Health,
        hub: Hub,
        mover: Mover,
        writer: MessageWriter,
        answers: set[asyncio.Task[None]],
        hurry: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._health = health
        self._hub = hub
        self._mover = mover
        self._writer = writer
        self._answers = answers
        self._hurry = hurry

    async def run(self) -> None:
        """Turn unready, wait for the proxies to notice, move all clients, finish writes, close the rest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.drain_seconds
        self._health.begin_drain(self._settings.drain_seconds)
        log.info("drain_begins", connections=len(self._hub.connections))
        await self._pause(self._settings.readiness_notice_seconds)
        log.info("drain_asks", connections=len(self._hub.connections))
        # Polls are answered only now: before, they would have come straight back.
        self._health.refusing = True
        self._hub.polls.wake_all()
        closing_seconds = min(CLOSING_SECONDS, self._settings.drain_seconds / 2)
        window_seconds = max(0.0, deadline - closing_seconds - loop.time())
        leave_by = loop.time() + window_seconds
        # Clients that were moved before may have been given more time than there is now.
        self._mover.forget()
        self._move_all(window_seconds)
        stay_until = leave_by + closing_seconds * LATE_SHARE
        while self._hub.connections and loop.time() < stay_until and not self._hurry.is_set():
            await asyncio.sleep(POLL_SECONDS)
            # A handshake that had begun before may end after the first pass.
            self._move_all(leave_by - loop.time())
        await self._writer.close(timeout_seconds=max(1.0, deadline - 2 - loop.time()))
        if self._answers:
            # The acks of what was just written go out ahead of the closes.
            await asyncio.wait(self._answers, timeout=ANSWERS_SECONDS)
        await self._close_rest(max(1.0, deadline - loop.time()))
        log.info("drain_ends")

    def _move_all(self, within_seconds: float) -> None:
        self._mover.move(
            self._hub.connections.values(), within_seconds, now=time.monotonic(), again_after_seconds=math.inf
        )

    async def _close_rest(self, timeout_seconds: float) -> None:
        log.info("drain_closes", connections=len(self._hub.connections))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while self._hub.connections and loop.time() < deadline:
            # Again and again, for the same reason; only the first order of a connection counts.
            for connection in self._hub.connections.values():
                connection.outbox.close(CLOSE_RESTART, "the server restarts")
            await asyncio.sleep(POLL_SECONDS)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass
