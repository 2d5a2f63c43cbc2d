"""Messages that disappear."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families


class ExpiryMetrics:
    """Messages that disappear, by the timers of chats or by the retention.

    Attributes:
        deleted: messages.
        announced: rows `expire`.
        lag_seconds: of the range that waits longest.
    """

    def __init__(self, families: Families) -> None:
        self.deleted = families.counter("chatserver_expired_messages", "Messages deleted because their time was over")
        self.announced = families.counter(
            "chatserver_expiries", "Rows of kind expire, each of which announces to a chat which messages have gone"
        )
        self.lag_seconds = families.gauge(
            "chatserver_expiry_lag_seconds",
            "Time for which messages of the chat that waits longest should have been deleted; 0 if there is none",
        )
