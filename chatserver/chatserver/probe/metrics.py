"""The probe's metrics; no label holds anything of an account."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from chatserver.metrics.instruments import Families
from chatserver.metrics.page import make_registry

if TYPE_CHECKING:
    from chatserver.probe.ledger import Received

BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""0.5 s is the bound of the objective; a message that a lost notification delays takes up to 10 s."""

STEPS = ("sign_in", "connect", "send", "receive")


class ProbeMetrics:
    """What the probe exports.

    Attributes:
        registry: What renders them.
        connect_seconds: From the first try to a connection that has requested its missed rows.
        ack_seconds: From sending a message to its acknowledgement.
        round_trip_seconds: From sending a message to its arrival at the other account.
    """

    def __init__(self) -> None:
        families = Families()
        self._attempts = families.counter("chatprobe_attempts", "Messages that the probe tried to send")
        self._failures = families.counters(
            "chatprobe_failures",
            "Attempts that failed, by step; receive: the message arrived not at all or too late",
            ["step"],
            [(step,) for step in STEPS],
        )
        self.connect_seconds = families.histogram(
            "chatprobe_connect_seconds", "Time until a connection is ready", BUCKETS_SECONDS
        )
        self.ack_seconds = families.histogram(
            "chatprobe_ack_seconds", "From sending to the acknowledgement", BUCKETS_SECONDS
        )
        self.round_trip_seconds = families.histogram(
            "chatprobe_round_trip_seconds", "From sending to the arrival at the other account", BUCKETS_SECONDS
        )
        self._lost = families.counter("chatprobe_lost", "Acknowledged messages that did not arrive within a minute")
        self._found = families.counter("chatprobe_found", "Messages that were counted as lost and arrived afterwards")
        self._duplicated = families.counter("chatprobe_duplicated", "Messages that arrived again as another row")
        self._reordered = families.counter(
            "chatprobe_reordered", "Messages that arrived or were stored after one that was sent later"
        )
        self._last_success = families.gauge(
            "chatprobe_last_success_timestamp_seconds", "When a message last arrived in time; 0: never"
        )
        self._streak = families.gauge(
            "chatprobe_consecutive_failures", "Attempts that failed since the last one that succeeded"
        )
        # Without a value until it is known: 0 would be a certificate that has expired.
        self._expiry = families.gauges(
            "chatprobe_certificate_expiry_timestamp_seconds", "When the certificate that the chat serves expires", ()
        )
        build = families.gauges("chatprobe_build_info", "1, with the release of the probe", ["version"])
        build.labels(version("chatcluster")).set(1)
        self.registry = make_registry(families)

    def attempt(self, count: int = 1) -> None:
        """Count attempts."""
        self._attempts.inc(count)

    def fail(self, step: str, count: int = 1) -> None:
        """Count failed attempts by the step that failed."""
        self._failures.labels(step).inc(count)
        self._streak.set(self._streak.value + count)

    def succeed(self) -> None:
        """Record that a message arrived in time."""
        self._last_success.set(time.time())
        self._streak.set(0)

    def misplaced(self) -> None:
        """Count a message that was stored out of order."""
        self._reordered.inc()

    def received(self, received: Received) -> None:
        """Count an arrival."""
        if received.round_trip_seconds is not None:
            self.round_trip_seconds.observe(received.round_trip_seconds)
        self._duplicated.inc(received.duplicated)
        self._reordered.inc(received.reordered)
        self._found.inc(received.found)

    def lose(self, count: int) -> None:
        """Count messages that are lost."""
        self._lost.inc(count)

    def certificate_expires(self, timestamp: float) -> None:
        """Publish when the server's certificate expires, in seconds since 1970."""
        self._expiry.labels().set(timestamp)
