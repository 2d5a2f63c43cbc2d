"""Publication of hints after their commit: at once when none is being published, and otherwise together.

A hint of something stored waits in a slot of the database as well (`storage.hint_slots`). If this server ends before
the hint is published, another one publishes it from there (`fanout.sweeping`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.hints import HINT_CHANNEL, merged, payloads_of
from chatserver.storage.hint_slots import HintSlots
from chatserver.storage.outages import Contended, StatementFailed
from chatserver.supervision import caught, is_cancelled, isolated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from chatserver.hints import Hint
    from chatserver.storage.database import Database
    from chatserver.storage.hint_slots import Slot

    Publish = Callable[[Sequence[Hint]], Awaitable[None]]
    """Sends hints to all servers, this one included; raises ServiceUnavailable when they may not have been sent."""

COLLECT_SECONDS = 0.01
"""Seconds between two publications: each wakes every server. A hint that comes later than that goes at once."""

RETRY_SECONDS = 0.5
"""Wait after a failed publication."""

CLOSE_SECONDS = 2.0
"""Seconds for the last publication: what it misses, other servers publish."""

log = structlog.get_logger()


class Leaving:
    """A transaction that may leave a hint.

    Args:
        place: owner, number and batch of its slot, as the functions of the database take them.

    Attributes:
        hint: what it left, to be set once it is committed; None: nothing.
    """

    __slots__ = ("hint", "place")

    def __init__(self, place: tuple[str, int, int]) -> None:
        self.place = place
        self.hint: Hint | None = None


class HintPublisher:
    """Publishes the hints of one server.

    Args:
        server_name: of the server.
        publish: how they are sent.

    Attributes:
        slots: where transactions leave hints.
        uncertain: set when a transaction may or may not be committed: its slot says which.
    """

    def __init__(self, server_name: str, publish: Publish) -> None:
        self.slots = HintSlots(server_name)
        self.uncertain = asyncio.Event()
        self._publish = publish
        # Of what is stored, with the slots; and what is lost when it cannot be sent at once.
        self._stored: list[Hint] = []
        self._slots: list[Slot] = []
        self._fleeting: list[Hint] = []
        self._stored_at: float | None = None
        self._sending_at: float | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing = False

    def publish_by(self, publish: Publish) -> None:
        """Send hints in another way than that of the constructor."""
        self._publish = publish

    @contextmanager
    def leaving(self) -> Iterator[Leaving]:
        """Lend a slot to a transaction that the block commits; publishes what it left, also if nobody knows of it."""
        slot = self.slots.take()
        leaving = Leaving((self.slots.owner, *slot))
        try:
            yield leaving
        except BaseException as error:
            self.failed(slot, error)
            raise
        self.committed(slot, leaving.hint)

    def committed(self, slot: Slot, hint: Hint | None) -> None:
        """Publish the hint that a committed transaction left in a slot; None: it left none."""
        if hint is None:
            self.slots.unwritten(slot)
            return
        self._stored.append(hint)
        self._slots.append(slot)
        if self._stored_at is None:
            self._stored_at = time.monotonic()
        self._start()

    def failed(self, slot: Slot, error: BaseException) -> None:
        """Take the slot of a transaction that failed: it was rolled back, or nobody knows."""
        if isinstance(error, (Contended, StatementFailed)):
            self.slots.unwritten(slot)
        else:
            self.slots.uncertain(slot)
            self.uncertain.set()

    def say(self, hint: Hint) -> None:
        """Publish something that is not stored, such as typing; it is lost when it cannot be sent."""
        self._fleeting.append(hint)
        self._start()

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Publish hints now, apart from those that wait; raises ServiceUnavailable."""
        await self._publish(merged(hints))

    def unpublished_since(self) -> float | None:
        """Return the time (monotonic) of the oldest commit whose hint is not published; None: all are."""
        return self._stored_at if self._sending_at is None else self._sending_at

    async def close(self) -> None:
        """Publish what waits, once; what cannot be published stays in its slots."""
        self._closing = True
        if self._running is not None:
            await asyncio.wait([self._running], timeout=CLOSE_SECONDS)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _start(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="publish-hints")

    async def _run(self) -> None:
        while self._stored or self._fleeting:
            began = time.monotonic()
            is_sent = await self._publish_waiting()
            if self._closing and not is_sent:
                return
            if not self._closing:
                # Also after the last one: what comes meanwhile goes with the next. Should it fail, that goes at once.
                with isolated("hints_not_collected"):
                    await asyncio.sleep(began + COLLECT_SECONDS - time.monotonic() if is_sent else RETRY_SECONDS)

    async def _publish_waiting(self) -> bool:
        """Publish what waits; returns whether it was sent."""
        stored, slots, since = self._stored, self._slots, self._stored_at
        hints = merged([*stored, *self._fleeting])
        self._stored, self._slots, self._fleeting, self._stored_at = [], [], [], None
        self._sending_at = since
        try:
            await self._publish(hints)
        except ServiceUnavailable:
            log.warning("hints_wait_for_bus", hints=len(hints))
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            caught("hints_not_published", error, hints=len(hints))
        except Exception as error:  # noqa: BLE001 - whatever it is, the slots still have the hints
            caught("hints_not_published", error, hints=len(hints))
        else:
            for slot in slots:
                self.slots.published(slot)
            return True
        finally:
            self._sending_at = None
        self._stored, self._slots = merged(stored) + self._stored, slots + self._slots
        self._stored_at = since or self._stored_at
        return False


async def notify(database: Database, hints: Sequence[Hint]) -> None:
    """Send hints to all servers, this one included, by PostgreSQL's NOTIFY.

    Raises:
        ServiceUnavailable: they may not have been sent.
    """
    payloads = payloads_of(hints)
    if not payloads:
        return
    try:
        await database.execute(
            "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", HINT_CHANNEL, payloads
        )
    except StatementFailed as error:
        # PostgreSQL's queue of notifications is full.
        raise ServiceUnavailable from error
