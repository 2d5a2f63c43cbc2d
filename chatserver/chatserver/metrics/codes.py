"""Sign-in codes on their way to users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.metrics.buckets import REQUEST_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families


class CodeMetrics:
    """Sign-in codes.

    Attributes:
        seconds: of each request to the gateway.
    """

    def __init__(self, families: Families) -> None:
        self._results = families.counters(
            "chatserver_codes",
            "Sign-in codes by result: sent, failed (the server gave up), refused (503, because too many codes waited)",
            ["result"],
            [("sent",), ("failed",), ("refused",)],
        )
        self.seconds = families.histogram(
            "chatserver_code_seconds",
            "Duration of each request to the gateway that sends sign-in codes, failed ones included",
            REQUEST_SECONDS,
        )
        self.oldest_seconds = families.gauge(
            "chatserver_code_oldest_seconds", "Age of the oldest sign-in code that is not sent yet; 0 if there is none"
        )
        self.waiting = families.gauge("chatserver_codes_waiting", "Sign-in codes that wait to be sent")

    def count(self, result: str) -> None:
        """Count a sign-in code by its result: ``sent``, ``failed`` or ``refused``."""
        self._results.labels(result).inc()
