"""The server process: its version, its event loop, its drain, its defects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import supervision

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families


class ProcessMetrics:
    """The process.

    Attributes:
        draining: 1 after SIGTERM.
    """

    def __init__(self, families: Families) -> None:
        self.draining = families.gauge("chatserver_draining", "1 while the server drains")
        self._defects = families.counters(
            "chatserver_defects",
            "Unexpected exceptions by the name of their log event",
            ["event"],
            [("loop_failed",)],
        )
        self._defects.refresh = self._read_defects

    def _read_defects(self) -> None:
        """Take over what ``supervision`` counted."""
        for event, count in supervision.defects().items():
            self._defects.labels(event).value = count
