"""What recipients of messages see, and the bus that announces messages to servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.metrics.buckets import LATENCY_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families


class DeliveryMetrics:
    """Deliveries and hints.

    Attributes:
        queue_seconds: of each row, on two clocks; ``push_seconds`` is what a recipient sees.
        push_seconds: of each frame of a row.
        gaps_healed: rows whose hint was lost.
        hints_swept: hints of others, mostly, that ended before they published them.
    """

    def __init__(self, families: Families) -> None:
        self.queue_seconds = families.histogram(
            "chatserver_delivery_seconds",
            "Time from the database's timestamp of a message, which it gets before its commit, until its frame is in"
            " the queue of a connection; it includes the difference of both clocks, and not the writing of the frame",
            LATENCY_SECONDS,
        )
        self.push_seconds = families.histogram(
            "chatserver_push_seconds",
            "Time from the commit of a message until its frame is written to the connection of a recipient, for each"
            " recipient; frames that are not written are not counted",
            LATENCY_SECONDS,
        )
        self.bus_connected = families.gauge(
            "chatserver_bus_connected",
            "1 while the server receives notifications of the other servers, from the database (LISTEN) or Valkey",
        )
        self.bus_hints = families.counter("chatserver_bus_hints", "Notifications received from servers")
        self.bus_losses = families.counter(
            "chatserver_bus_losses", "Times that a connection for notifications was lost"
        )
        self.bus_gaps = families.counter(
            "chatserver_bus_gaps", "Times that notifications by Valkey were lost, as their numbers show"
        )
        self.bus_lag_seconds = families.histogram(
            "chatserver_bus_lag_seconds",
            "Time from the commit of messages of this server until it received their notification, by its own clock",
            LATENCY_SECONDS,
        )
        self.hints_swept = families.counter(
            "chatserver_hints_swept",
            "Notifications of stored changes that this server sent for another one which ended after the commit and"
            " before the notification, or for itself when the outcome of a commit was unknown",
        )
        self.hints_unpublished_seconds = families.gauge(
            "chatserver_hints_unpublished_seconds",
            "Age of the oldest change that this server committed and has not notified the other servers of; 0 when"
            " there is none",
        )
        self.clock_offset = families.gauge(
            "chatserver_clock_offset_seconds", "By how much the database's clock is ahead of the server's"
        )
        self.gaps_healed = families.counter(
            "chatserver_gaps_healed", "Messages found by re-reading a chat because their notification was lost"
        )
