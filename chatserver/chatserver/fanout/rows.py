"""Delivery of rows: one query reads those of all pending chats, and they are queued to connections in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatserver.fanout.connection import PushedRow
from chatserver.fanout.push_times import NO_COMMIT
from chatserver.messaging import sync
from chatserver.messaging.rows import frame_or_none
from chatserver.supervision import apart
from chatserver.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.fanout.clock import DatabaseClock
    from chatserver.fanout.hub import Hub
    from chatserver.fanout.pending_rows import PendingRows
    from chatserver.metrics.delivery import DeliveryMetrics
    from chatserver.model import Delivery, SeqRange
    from chatserver.storage.database import Database


class RowDelivery:
    """Reads pending rows and delivers them.

    Args:
        database: where the rows are.
        hub: the connections of this server.
        pending: the chats with rows to deliver.
        clock: the database's.
        metrics: gets the seconds until rows are queued.
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        pending: PendingRows,
        clock: DatabaseClock,
        metrics: DeliveryMetrics,
    ) -> None:
        self._database = database
        self._hub = hub
        self._pending = pending
        self._clock = clock
        self._metrics = metrics

    async def deliver(self) -> None:
        """Deliver what is pending.

        Raises:
            ServiceUnavailable: the database is unavailable; the rest stays pending.
        """
        while self._pending:
            ranges = self._pending.next_ranges()
            if not ranges:
                return
            for chat_range in await apart("rows_not_delivered", ranges, self._deliver):
                self._pending.put_off(chat_range)

    async def _deliver(self, ranges: Sequence[SeqRange]) -> None:
        # What is left out now stays pending, and is part of the next round.
        ranges = await sync.light(self._database, ranges)
        followers = self._hub.following.followers(chat_range.chat_id for chat_range in ranges)
        self._push(ranges, await sync.rows_for(self._database, ranges, followers))

    def _push(self, ranges: Sequence[SeqRange], deliveries: Iterable[Delivery]) -> None:
        rows: dict[int, list[PushedRow]] = {}
        now_us = time.time() * MICROSECONDS
        for delivery in deliveries:
            row = delivery.row
            frame = frame_or_none(row)
            if frame is None:
                continue
            # The database dates a row just before its commit, which no server can date better for another one.
            committed_at = self._clock.monotonic(row.created_at_us) or NO_COMMIT
            # Whoever follows another chat of the query may be a member of this one, and join it here a moment later.
            readers = self._hub.following.followers_among(row.chat_id, delivery.user_ids)
            pushed = PushedRow(row.chat_id, row.seq, row.from_id, row.client_id, frame, readers, committed_at)
            rows.setdefault(row.chat_id, []).append(pushed)
            self._metrics.queue_seconds.observe(max(0.0, (now_us - row.created_at_us) / MICROSECONDS))
        for chat_range in ranges:
            self._hub.push(chat_range.chat_id, rows.get(chat_range.chat_id, ()), chat_range.last_seq)
