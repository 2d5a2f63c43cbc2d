"""The server process: its version, its event loop, its drain, its defects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import supervision
from chatserver.metrics.buckets import STALL_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families


class ProcessMetrics:
    """The process.

    Attributes:
        draining: 1 after SIGTERM.
        drain_deadline: when the last connection of a drain is closed; 0 before it.
        loop_lag_seconds: by how much a wait of the event loop is too long.
        loop_ran_at: when the event loop last measured that; the page is served even if it is stuck.
    """

    def __init__(self, families: Families) -> None:
        self.draining = families.gauge("chatserver_draining", "1 while the server drains")
        self.drain_deadline = families.gauge(
            "chatserver_drain_deadline_timestamp_seconds",
            "When the drain of the server closes its last connections; 0 while the server does not drain",
        )
        self.loop_lag_seconds = families.histogram(
            "chatserver_event_loop_lag_seconds",
            "Time by which the event loop was late, measured four times a second: everything waits for so long",
            STALL_SECONDS,
        )
        self.loop_ran_at = families.gauge(
            "chatserver_event_loop_last_run_timestamp_seconds",
            "When the event loop ran last, to a quarter of a second",
        )
        self._build = families.gauges(
            "chatserver_build_info",
            "1, by the version of the server and of its database schema, and whether its hot modules are compiled",
            ["version", "schema", "compiled"],
        )
        self._defects = families.counters(
            "chatserver_defects",
            "Unexpected exceptions by the name of their log event",
            ["event"],
            [("loop_failed",)],
        )
        self._defects.refresh = self._read_defects

    def show_build(self, version: str, schema: str, *, compiled: bool) -> None:
        """Publish the server's version, the last migration that it knows, and whether its hot modules are compiled."""
        self._build.labels(version, schema, str(compiled).lower()).set(1)

    def _read_defects(self) -> None:
        """Take over what ``supervision`` counted."""
        for event, count in supervision.defects().items():
            self._defects.labels(event).value = count
