"""The probe's metrics; no label holds anything of an account."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from chatserver.probe.ledger import Received

BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""0.5 s is the bound of the objective; a message that a lost notification delays takes up to 10 s."""

STEPS = ("sign_in", "connect", "send", "receive")


class ProbeMetrics:
    """What the probe exports.

    Attributes:
        connect_seconds: From the first try to a connection that has requested its missed rows.
        ack_seconds: From sending a message to its acknowledgement.
        round_trip_seconds: From sending a message to its arrival at the other account.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # it is published without types
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._attempts = Counter("chatprobe_attempts", "Messages that the probe tried to send", registry=self.registry)
        self._failures = Counter(
            "chatprobe_failures",
            "Attempts that failed, by step; receive: the message arrived not at all or too late",
            ["step"],
            registry=self.registry,
        )
        for step in STEPS:
            self._failures.labels(step)
        self.connect_seconds = self._histogram("chatprobe_connect_seconds", "Time until a connection is ready")
        self.ack_seconds = self._histogram("chatprobe_ack_seconds", "From sending to the acknowledgement")
        self.round_trip_seconds = self._histogram(
            "chatprobe_round_trip_seconds", "From sending to the arrival at the other account"
        )
        self._lost = Counter(
            "chatprobe_lost", "Acknowledged messages that did not arrive within a minute", registry=self.registry
        )
        self._found = Counter(
            "chatprobe_found", "Messages that were counted as lost and arrived afterwards", registry=self.registry
        )
        self._duplicated = Counter(
            "chatprobe_duplicated", "Messages that arrived again as another row", registry=self.registry
        )
        self._reordered = Counter(
            "chatprobe_reordered",
            "Messages that arrived or were stored after one that was sent later",
            registry=self.registry,
        )
        self._last_success = Gauge(
            "chatprobe_last_success_timestamp_seconds",
            "When a message last arrived in time; 0: never",
            registry=self.registry,
        )
        self._expiry = _Expiry()
        self.registry.register(self._expiry)
        build = Gauge("chatprobe_build_info", "1, with the release of the probe", ["version"], registry=self.registry)
        build.labels(version("chatcluster")).set(1)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=BUCKETS_SECONDS, registry=self.registry)

    def attempt(self, count: int = 1) -> None:
        """Count attempts."""
        self._attempts.inc(count)

    def fail(self, step: str, count: int = 1) -> None:
        """Count failed attempts by the step that failed."""
        self._failures.labels(step).inc(count)

    def succeed(self) -> None:
        """Record that a message arrived in time."""
        self._last_success.set(time.time())

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
        self._expiry.timestamp = timestamp


class _Expiry(Collector):
    """Publishes the certificate's expiry once it is known: 0 would be a certificate that has expired."""

    def __init__(self) -> None:
        self.timestamp: float | None = None

    def describe(self) -> Iterable[Metric]:
        """Return the family without a value."""
        return [_expiry_family()]

    def collect(self) -> Iterable[Metric]:
        """Return the family if there is a value."""
        family = _expiry_family()
        if self.timestamp is not None:
            family.add_metric([], self.timestamp)
        return [family]


def _expiry_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "chatprobe_certificate_expiry_timestamp_seconds", "When the certificate that the chat serves expires"
    )
