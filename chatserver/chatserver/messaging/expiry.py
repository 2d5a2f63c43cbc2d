"""Deletes the messages whose time is over, and announces it to their chats. Every server does; each range has one.

Messages go first, in batches that lock no chat. Then one short transaction adds the row `expire`, as any change of a
chat. A server that ends between the two leaves what it has done to another one (docs/decisions/0087).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.storage import expiries, retention
from chatserver.storage.announcing import announced
from chatserver.supervision import isolated
from chatserver.times import DAY_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.expiry import ExpiryMetrics
    from chatserver.storage.database import Database
    from chatserver.storage.expiries import Range

log = structlog.get_logger()

PERIOD_SECONDS: Final = 10.0
"""Seconds between two rounds."""

CLAIM_RANGES: Final = 100
"""Ranges that a server looks at with one statement."""

BATCH_ROWS: Final = 500
"""Rows deleted by one statement: some 10 ms, for which an edit of one of them waits."""

BATCH_BYTES: Final = 4 << 20
"""Bytes of messages deleted by one statement, as they are stored: large texts are rows of their own, 2 KB each."""

RANGE_SECONDS: Final = 20.0
"""Seconds after which what has gone of a range is announced, though more is due. Far below LEASE_SECONDS."""

WALK_CHATS: Final = 1000
"""Chats whose oldest row is looked at by one statement: some 10 ms."""

WALK_STEPS: Final = 10
"""Statements a round: 60,000 chats a minute."""

WALK_SECONDS: Final = 6 * 3600.0
"""Seconds between two searches for messages older than the retention: a busy chat gets four rows `expire` a day."""


class Expiry:
    """Deletes what is due.

    Args:
        database: where the messages are.
        metrics: counts what goes.
        retention_days: after which messages of all chats go; None: they stay.
    """

    def __init__(self, database: Database, metrics: ExpiryMetrics, *, retention_days: int | None = None) -> None:
        self._database = database
        self._metrics = metrics
        self._retention_seconds = None if retention_days is None else retention_days * DAY_SECONDS

    async def run(self) -> None:
        """Delete until cancelled."""
        while True:
            try:
                await self.round()
                self._metrics.lag_seconds.set(await expiries.lag_seconds(self._database))
            except ServiceUnavailable:
                log.warning("expiry_waits_for_database")
            await asyncio.sleep(PERIOD_SECONDS)

    async def round(self) -> None:
        """Delete all that is due and that no other server has.

        Raises:
            ServiceUnavailable: the database is unavailable; the next round, or another server, continues.
        """
        if self._retention_seconds is not None:
            await self._walk(self._retention_seconds)
        more = True
        while more:
            ranges, more = await expiries.claim(
                self._database, retention_seconds=self._retention_seconds, limit=CLAIM_RANGES
            )
            for place in ranges:
                # One whose rows cannot be deleted keeps the others from nothing.
                with isolated("expiry_failed", chat_id=place.chat_id):
                    await self._expire_or_leave(place)

    async def _walk(self, seconds: int) -> None:
        for _ in range(WALK_STEPS):
            if not await retention.step(
                self._database, seconds=seconds, most_chats=WALK_CHATS, period_seconds=WALK_SECONDS
            ):
                break

    async def _expire_or_leave(self, place: Range) -> None:
        try:
            await self._expire(place)
        except ServiceUnavailable:
            # Another transaction may lock this chat for long.
            await self._database.ping()
            log.warning("chat_not_expired_yet", chat_id=place.chat_id)

    async def _expire(self, place: Range) -> None:
        if place.from_seq == 1:
            await retention.remember_sends(self._database, place)
        until = time.monotonic() + RANGE_SECONDS
        more = True
        while more and time.monotonic() < until:
            began = time.monotonic()
            batch = await expiries.delete_due(
                self._database,
                place,
                retention_seconds=self._retention_seconds,
                most_rows=BATCH_ROWS,
                most_bytes=BATCH_BYTES,
            )
            self._metrics.deleted.inc(batch.deleted)
            more = batch.more
            if more:
                # Half of the time is everybody else's.
                await asyncio.sleep(time.monotonic() - began)
        while await expiries.delete_changes(self._database, place, most_rows=BATCH_ROWS) == BATCH_ROWS:
            pass
        await self._announce(place)

    async def _announce(self, place: Range) -> None:
        # It writes something each time.
        async with announced(self._database, repeatable=False) as (connection, announcement):
            pending = await expiries.lock_pending(connection, place)
            expire_seq = None
            if pending is not None and pending.has_gone:
                # Of what was changed while it went: nobody can any more, since the chat is locked.
                await expiries.delete_changes(connection, place, most_rows=BATCH_ROWS)
                await expiries.forget_details(connection, place)
                expire_seq = await expiries.append_expire(connection, announcement, place, pending)
                self._metrics.announced.inc()
            await expiries.settle(connection, place, retention_seconds=self._retention_seconds, expire_seq=expire_seq)
