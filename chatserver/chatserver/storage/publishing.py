"""Publication of hints: in the commit that they announce while the server is idle, and otherwise after it, together.

A transaction that is alone notifies itself, which costs neither a slot nor another statement. Under load a hint of
something stored waits in a slot of the database (`storage.hint_slots`) until it is published with others. If this
server ends before that, another one publishes it from there (`fanout.sweeping`).
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.hints import HINT_CHANNEL, HINT_ITEMS, merged, payloads_of
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
"""Seconds between two publications: each wakes every server. A hint that comes later than that goes at once, in the
commit of its transaction where that is possible."""

RETRY_SECONDS = 0.5
"""Wait after a failed publication."""

CLOSE_SECONDS = 2.0
"""Seconds for the last publication: what it misses, other servers publish."""

log = structlog.get_logger()


class Leaving:
    """A transaction that may leave a hint.

    Args:
        owner: of the slot.
        slot: where it leaves the hint; None: it sends the hint by NOTIFY itself.

    Attributes:
        place: owner, number and batch of the slot, as the functions of the database take them.
        hint: what it left, to be set once it is committed; None: nothing.
    """

    __slots__ = ("hint", "place", "slot")

    def __init__(self, owner: str, slot: Slot | None) -> None:
        self.slot = slot
        self.place: tuple[str, int | None, int] = (owner, None, 0) if slot is None else (owner, *slot)
        self.hint: Hint | None = None


class HintPublisher:
    """Publishes the hints of one server.

    Args:
        server_name: of the server.
        publish: how they are sent.
        by_notify: whether NOTIFY reaches everybody, so that a transaction can send its hint itself.

    Attributes:
        slots: where transactions leave hints.
        wake: set when slots may have to be read: a transaction may or may not be committed, or a probe has looked.
    """

    def __init__(self, server_name: str, publish: Publish, *, by_notify: bool = False) -> None:
        self.slots = HintSlots(server_name)
        self.wake = asyncio.Event()
        self._publish = publish
        self._by_notify = by_notify
        # Of what is stored, with the slots; and what is lost when it cannot be sent at once.
        self._stored: list[Hint] = []
        self._slots: list[Slot] = []
        self._fleeting: list[Hint] = []
        self._stored_at: float | None = None
        self._sending_at: float | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing = False
        # Until when hints are collected.
        self._due_at = -math.inf
        # A transaction runs that notifies; and the last one failed, perhaps because of that.
        self._notifying = False
        self._refused = False

    def publish_by(self, publish: Publish) -> None:
        """Send hints in another way than by NOTIFY, which no transaction can use."""
        self._publish = publish
        self._by_notify = False

    @contextmanager
    def leaving(self, items: int) -> Iterator[Leaving]:
        """Begin a transaction that the block commits; publishes what it left, also if nobody knows of it.

        Args:
            items: entries of the hint at most.
        """
        leaving = self.begin(is_small=items <= HINT_ITEMS)
        try:
            yield leaving
        except BaseException as error:
            self.failed(leaving, error)
            raise
        self.committed(leaving)

    def begin(self, *, is_small: bool) -> Leaving:
        """Decide where a transaction leaves its hint; `committed` or `failed` must be called with the result.

        Args:
            is_small: whether its hint fits into one NOTIFY.
        """
        is_publishing = self._notifying or (self._running is not None and not self._running.done())
        # Transactions that are further apart would be published one by one after all.
        is_idle = not is_publishing and time.monotonic() >= self._due_at - COLLECT_SECONDS / 2
        if is_small and is_idle and self._by_notify and not self._refused:
            self._notifying = True
            return Leaving(self.slots.owner, None)
        return Leaving(self.slots.owner, self.slots.take())

    def committed(self, leaving: Leaving) -> None:
        """Publish the hint that a committed transaction left, unless it has sent the hint itself."""
        slot, hint = leaving.slot, leaving.hint
        if slot is None:
            self._notifying = False
            if hint is not None:
                self._due_at = time.monotonic() + COLLECT_SECONDS
        elif hint is None:
            self.slots.unwritten(slot)
        else:
            self._stored.append(hint)
            self._slots.append(slot)
            if self._stored_at is None:
                self._stored_at = time.monotonic()
            self._start()

    def failed(self, leaving: Leaving, error: BaseException) -> None:
        """Take what became of a transaction that failed: it was rolled back, or nobody knows."""
        slot = leaving.slot
        if slot is None:
            # What was committed all the same has sent its hint. When PostgreSQL's queue of notifications is full, the
            # transactions that follow must not depend on it.
            self._notifying = False
            self._refused = True
        elif isinstance(error, (Contended, StatementFailed)):
            self.slots.unwritten(slot)
        else:
            self.slots.uncertain(slot)
            self.wake.set()

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
            wait_seconds = self._due_at - time.monotonic()
            if wait_seconds > 0 and not self._closing:
                # What comes meanwhile goes with these. Should it fail, they go at once.
                with isolated("hints_not_collected"):
                    await asyncio.sleep(wait_seconds)
            began = time.monotonic()
            is_sent = await self._publish_waiting()
            if self._closing and not is_sent:
                return
            self._due_at = began + COLLECT_SECONDS if is_sent else time.monotonic() + RETRY_SECONDS

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
            self._refused = False
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
    await database.execute("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", HINT_CHANNEL, payloads)
