"""Delivery of messages that other servers store: from their hint where it carries them, and read otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.fanout import batch_rows
from chatserver.fanout.push_times import NO_COMMIT

if TYPE_CHECKING:
    from chatserver.fanout.clock import DatabaseClock
    from chatserver.fanout.hub import Hub
    from chatserver.fanout.pending_rows import PendingRows
    from chatserver.hints import ChatRows, Hint
    from chatserver.metrics.delivery import DeliveryMetrics


class OtherBatches:
    """The batches of other servers' writers.

    Args:
        hub: the connections of this server.
        pending: gets the rows that have to be read.
        clock: the database's.
        metrics: gets the seconds until rows are queued.
    """

    def __init__(self, hub: Hub, pending: PendingRows, clock: DatabaseClock, metrics: DeliveryMetrics) -> None:
        self._hub = hub
        self._pending = pending
        self._clock = clock
        self._metrics = metrics

    def receive(self, hint: Hint) -> None:
        """Take the hint of a batch: push the messages that it carries, and have the others read."""
        for carried in hint.rows:
            self._push(carried)
        for chat_range in hint.ranges:
            if self._hub.following.may_need(chat_range.chat_id, chat_range.last_seq):
                self._pending.add((chat_range,))

    def _push(self, carried: ChatRows) -> None:
        chat_id, rows = carried.chat_id, carried.rows
        after_seq = self._hub.following.needed_after(chat_id)
        if after_seq is None or not rows or not rows[0].seq - 1 <= after_seq < rows[-1].seq:
            # Nobody follows the chat, rows are missing before these, or all have them.
            return
        if rows[-1].seq - rows[0].seq + 1 != len(rows):
            return
        batch_rows.push(self._hub, self._metrics, carried, self._committed_at)

    def _committed_at(self, created_at_us: int) -> float:
        # The database dates a row just before its commit, which no server can date better for another one.
        return self._clock.monotonic(created_at_us) or NO_COMMIT
