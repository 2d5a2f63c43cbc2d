"""What senders of messages see: results, and how long they waited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chatserver.metrics.buckets import LATENCY_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families

RESULTS: Final = ("ok", "rejected", "limited", "unavailable")
"""Of a send: stored now or before; it can never be stored; a rate limit; the server could not store it in time."""


class SendMetrics:
    """Sends by result.

    Attributes:
        messages: ``stored``, ``duplicate``, ``rejected``, ``limited``, ``unavailable``.
        seconds: by ``RESULTS``.
    """

    def __init__(self, families: Families) -> None:
        self.messages = families.counters(
            "chatserver_messages",
            "Tries to send a message, by result; a client that retries a message counts several times",
            ["result"],
            [("stored",), ("duplicate",), ("rejected",), ("limited",), ("unavailable",)],
        )
        self.seconds = families.histograms(
            "chatserver_send_seconds",
            "Time from reading a WebSocket frame or request that sends a message until its answer is handed over, by"
            " result: ok (stored now or before), rejected, limited, unavailable",
            ["result"],
            LATENCY_SECONDS,
            [(result,) for result in RESULTS],
        )
