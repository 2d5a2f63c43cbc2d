"""How long messages wait for their write and how long it takes, batch by batch; slow ones are logged.

A send that is slow waited for one of three things: other batches (the queue), a connection (the pool), or PostgreSQL
(locks and the commit). The log event has the share of each, so that one line says where to look.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chatserver.messaging.pending import Pending
    from chatserver.metrics.database import DatabaseMetrics
    from chatserver.storage.calls import CallTimes

SLOW_SECONDS: Final = 1.0
"""A send that takes longer is logged: ten times what senders should wait at most."""

log = structlog.get_logger(__name__)

_queued_at = attrgetter("queued_at")


class WriteTimes:
    """Takes the times of each batch.

    Args:
        metrics: what is counted.
    """

    def __init__(self, metrics: DatabaseMetrics) -> None:
        self._metrics = metrics

    def written(self, batch: Sequence[Pending], started_at: float, call: CallTimes) -> None:
        """Take the times of a batch that was stored or failed, and log it if one of its sends was slow.

        Args:
            batch: its messages; not empty.
            started_at: when its call began, of ``time.monotonic``.
            call: its times.
        """
        first = min(batch, key=_queued_at)
        waited_seconds = max(0.0, started_at - first.queued_at)
        metrics = self._metrics
        metrics.batch_rows.observe(len(batch))
        metrics.batch_seconds.observe(call.seconds)
        metrics.wait_seconds.observe(waited_seconds)
        if waited_seconds + call.seconds > SLOW_SECONDS:
            slow_after = started_at + call.seconds - SLOW_SECONDS
            _report(
                first,
                sends=sum(pending.queued_at < slow_after for pending in batch),
                rows=len(batch),
                stored=call.succeeded,
                queue_seconds=waited_seconds,
                pool_seconds=call.acquire_seconds,
                commit_seconds=call.seconds - call.acquire_seconds,
            )

    @staticmethod
    def given_up(late: Collection[Pending], now: float) -> None:
        """Log sends that were answered before a batch had room for them.

        Args:
            late: not empty.
            now: of ``time.monotonic``.
        """
        first = min(late, key=_queued_at)
        _report(
            first,
            sends=len(late),
            rows=0,
            stored=False,
            queue_seconds=now - first.queued_at,
            pool_seconds=0.0,
            commit_seconds=0.0,
        )


def _report(first: Pending, *, sends: int, rows: int, stored: bool, **shares: float) -> None:
    """Log one event for all slow sends of a batch, with the ids of the one that waited longest."""
    log.warning(
        "slow_send",
        chat_id=first.message.chat_id,
        user_id=first.message.sender_id,
        client_id=first.message.client_id,
        sends=sends,
        rows=rows,
        stored=stored,
        seconds=round(sum(shares.values()), 3),
        **{name: round(seconds, 3) for name, seconds in shares.items()},
    )
