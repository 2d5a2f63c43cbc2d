"""How a server leaves: when each client is asked to reconnect, and the steps from SIGTERM to the last closed socket."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from chatserver.protocol import CLOSE_RESTART, Reconnect, encode_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.fleet.health import Health
    from chatserver.messaging.writer import MessageWriter
    from chatserver.settings import Settings

log = structlog.get_logger()

# The end of drainSeconds that no client is told to use: writes finish in it and the last sockets close.
CLOSING_SECONDS = 5.0
# Of that, for the last clients' own closing handshakes: those who leave by themselves need no 1012.
LATE_SHARE = 0.25
# Sends are answered as soon as the writer is closed; watermarks may be waiting for a database that is away.
ANSWERS_SECONDS = 0.5
# Between looks at whether everybody has left.
POLL_SECONDS = 0.1


def reconnect_delays_ms(count: int, window_seconds: float, random_values: Sequence[float]) -> list[int]:
    """Return when each of ``count`` clients shall leave: uniform over the window.

    Each client gets its own slice, so that also a few of them spread, and a random place within it.

    Args:
        count: clients.
        window_seconds: time in which all of them leave.
        random_values: ``count`` numbers from 0 to 1.

    Example:
        >>> reconnect_delays_ms(4, 20, [0, 0.5, 0, 0.5])
        [0, 7500, 10000, 17500]
    """
    slice_ms = window_seconds * 1000 / max(1, count)
    return [int((place + value) * slice_ms) for place, value in enumerate(random_values[:count])]


class Drain:
    """Carries out one drain.

    Args:
        answers: work under way whose result goes to a socket.
        hurry: set by a second SIGTERM: close at once, still in order.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        health: Health,
        hub: Hub,
        writer: MessageWriter,
        answers: set[asyncio.Task[None]],
        hurry: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._health = health
        self._hub = hub
        self._writer = writer
        self._answers = answers
        self._hurry = hurry

    async def run(self) -> None:
        """Turn unready, wait for the proxies to notice, ask every client to leave, finish writes, close who stayed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.drain_seconds
        self._health.begin_drain()
        log.info("drain_begins", connections=len(self._hub.connections))
        await self._pause(self._settings.readiness_notice_seconds)
        log.info("drain_asks", connections=len(self._hub.connections))
        # Polls are answered only now: before, they would have come straight back.
        self._health.refusing = True
        self._hub.polls.wake_all()
        closing_seconds = min(CLOSING_SECONDS, self._settings.drain_seconds / 2)
        window_seconds = max(0.0, deadline - closing_seconds - loop.time())
        leave_by = loop.time() + window_seconds
        asked = self._ask_to_leave(set(), window_seconds)
        stay_until = leave_by + closing_seconds * LATE_SHARE
        while self._hub.connections and loop.time() < stay_until and not self._hurry.is_set():
            await asyncio.sleep(POLL_SECONDS)
            # A handshake that had begun before ends after the first pass.
            asked = self._ask_to_leave(asked, leave_by - loop.time())
        await self._writer.close(timeout_seconds=max(1.0, deadline - 2 - loop.time()))
        if self._answers:
            # The acks of what was just written go out ahead of the closes.
            await asyncio.wait(self._answers, timeout=ANSWERS_SECONDS)
        await self._close_rest(max(1.0, deadline - loop.time()))
        log.info("drain_ends")

    def _ask_to_leave(self, asked: set[str], window_seconds: float) -> set[str]:
        """Ask whoever was not asked; return all that are here."""
        connections = [c for c in self._hub.connections.values() if c.conn_id not in asked]
        # Shuffled: neighbours in the list came at the same time, mostly from the same place.
        random.shuffle(connections)
        values = [random.random() for _ in connections]  # noqa: S311 - jitter, not a secret
        for connection, after_ms in zip(
            connections, reconnect_delays_ms(len(connections), max(0.0, window_seconds), values), strict=True
        ):
            connection.outbox.put(encode_frame(Reconnect(after_ms)))
        return set(self._hub.connections)

    async def _close_rest(self, timeout_seconds: float) -> None:
        log.info("drain_closes", connections=len(self._hub.connections))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while self._hub.connections and loop.time() < deadline:
            # Again and again, for the same reason; of orders the first holds.
            for connection in self._hub.connections.values():
                connection.outbox.close(CLOSE_RESTART, "the server restarts")
            await asyncio.sleep(POLL_SECONDS)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass
