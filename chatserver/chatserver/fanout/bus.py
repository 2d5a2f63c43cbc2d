"""Hints between servers: where to look for something new. Losing one costs latency, never a message."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

log = structlog.get_logger()

# Interval of probes of the listening connection.
WATCH_SECONDS = 2.0
# Time without a sign of life after which the bus counts as silent, and recovery reads the database: within 5 s more, so
# that a message whose hint was lost arrives in less than 10 s.
SILENT_SECONDS = 4.0
# First and longest wait before listening again.
RETRY_SECONDS = 0.2
RETRY_MAX_SECONDS = 5.0


class Listening(Protocol):
    """A connection that receives hints (``storage.listener.Listener``)."""

    async def wait_closed(self) -> None:
        """Return when the connection has ended."""

    async def ping(self) -> float:
        """Return what the other side's clock shows, in Unix seconds; raises ServiceUnavailable without an answer."""

    def close(self) -> None:
        """Cut the connection."""


class Bus(Protocol):
    """Carries hints between servers."""

    def is_healthy(self) -> bool:
        """Return whether hints of other servers arrive now, as far as can be known."""

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints to the servers concerned, after the commits that they announce.

        Raises:
            ServiceUnavailable: they may not have been sent.
        """

    async def register(self, user_ids: Collection[int]) -> None:
        """Have hints for these users sent to this server; to be awaited before their positions are read.

        Never raises: a bus that cannot register is not healthy until it has registered everybody.
        """

    async def register_watched(self, user_ids: Collection[int]) -> None:
        """Have hints of the presence of these users sent to this server; to be awaited before it is read.

        Never raises, as `register`.
        """

    async def run(self) -> None:
        """Receive hints until cancelled."""


class PostgresBus:
    """Hints by PostgreSQL's LISTEN and NOTIFY, on a separate connection.

    Args:
        listen: opens the listening connection (``Database.listen``).
        notify: sends hints (``storage.publishing.notify``).
        on_hint: called with each hint; must not block.
        on_listening: called each time it begins to listen: hints of before were missed.
        on_health: called with whether hints can be received, when that changes.
        on_lost: called each time that the bus is lost while the server runs.
        on_probe: called with each answer to a probe: what the database's clock showed, in Unix seconds, and when the
            probe was sent and answered, of ``time.monotonic``.
    """

    def __init__(
        self,
        listen: Callable[[Callable[[str], None]], Awaitable[Listening]],
        notify: Callable[[Sequence[Hint]], Awaitable[None]],
        *,
        on_hint: Callable[[Hint], None],
        on_listening: Callable[[], None],
        on_health: Callable[[bool], None],
        on_lost: Callable[[], None],
        on_probe: Callable[[float, float, float], None],
    ) -> None:
        self._listen = listen
        self._notify = notify
        self._on_hint = on_hint
        self._on_listening = on_listening
        self._on_health = on_health
        self._on_lost = on_lost
        self._on_probe = on_probe
        self._alive_at: float | None = None

    def is_healthy(self) -> bool:
        """Return whether the listening connection gave a sign of life within SILENT_SECONDS."""
        return self._alive_at is not None and time.monotonic() - self._alive_at < SILENT_SECONDS

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints to all servers, this one included.

        Raises:
            ServiceUnavailable: they may not have been sent.
        """
        await self._notify(hints)

    async def register(self, user_ids: Collection[int]) -> None:
        """Do nothing: every server gets every hint."""

    async def register_watched(self, user_ids: Collection[int]) -> None:
        """Do nothing, as in `register`."""

    async def run(self) -> None:
        """Listen, probe the connection, and listen again with back-off when it is lost; until cancelled."""
        wait_seconds = RETRY_SECONDS
        while True:
            try:
                listener = await self._listen(self._receive)
            except ServiceUnavailable:
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 2, RETRY_MAX_SECONDS)
                continue
            wait_seconds = RETRY_SECONDS
            log.info("bus_listening")
            self._alive_at = time.monotonic()
            self._on_health(True)  # noqa: FBT003 - a callback's only argument
            self._on_listening()
            try:
                await self._watch(listener)
            except ServiceUnavailable:
                log.warning("bus_silent")
            finally:
                self._alive_at = None
                self._on_health(False)  # noqa: FBT003 - a callback's only argument
                listener.close()
            self._on_lost()
            log.warning("bus_lost")

    async def _watch(self, listener: Listening) -> None:
        while True:
            sent_at = time.monotonic()
            database_seconds = await listener.ping()
            self._alive_at = time.monotonic()
            self._on_probe(database_seconds, sent_at, self._alive_at)
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await listener.wait_closed()
            except TimeoutError:
                continue
            return

    def _receive(self, payload: str) -> None:
        try:
            hint = Hint.decode(payload)
        except ValueError:
            log.warning("bus_payload_not_a_hint", length=len(payload))
            return
        self._alive_at = time.monotonic()
        self._on_hint(hint)
