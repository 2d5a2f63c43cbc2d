"""Sign-in codes on their way to users."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families


class CodeMetrics:
    """Sign-in codes."""

    def __init__(self, families: Families) -> None:
        self._results = families.counters(
            "chatserver_codes",
            "Sign-in codes by result: sent, failed (the server gave up), refused (503, because too many codes waited)",
            ["result"],
            [("sent",), ("failed",), ("refused",)],
        )
        self.waiting = families.gauge("chatserver_codes_waiting", "Sign-in codes that wait to be sent")

    def count(self, result: str) -> None:
        """Count a sign-in code by its result: ``sent``, ``failed`` or ``refused``."""
        self._results.labels(result).inc()
