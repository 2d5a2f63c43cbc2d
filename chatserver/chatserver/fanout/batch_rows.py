"""Messages of a batch that are rendered already: queued to the connections of this server without reading them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatserver.fanout.connection import PushedRow
from chatserver.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.fanout.hub import Hub
    from chatserver.hints import ChatRows
    from chatserver.metrics.delivery import DeliveryMetrics


def push(hub: Hub, metrics: DeliveryMetrics, batch: ChatRows, committed_at: Callable[[int], float]) -> None:
    """Queue messages to those who may see them and follow the chat here; no row may be missing before them.

    Args:
        hub: the connections.
        metrics: gets the seconds until the messages are queued.
        batch: at least one message.
        committed_at: returns the time of the commit, of ``time.monotonic``, for what the database says of a message.
    """
    chat_id, rows = batch.chat_id, batch.rows
    readers = hub.following.followers_among(chat_id, batch.user_ids)
    now_us = time.time() * MICROSECONDS
    pushed = []
    for row in rows:
        at, frame = committed_at(row.created_at_us), bytes(row.frame)
        pushed.append(PushedRow(chat_id, row.seq, row.from_id, row.client_id, frame, readers, at))
        metrics.queue_seconds.observe(max(0.0, (now_us - row.created_at_us) / MICROSECONDS))
    hub.push(chat_id, pushed, rows[-1].seq)
