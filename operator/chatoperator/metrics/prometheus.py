"""All use of prometheus_client: the operator's registry, its kinds of metrics, its page, and reading others' pages."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.registry import Collector

__all__ = ["REGISTRY", "Metric", "counter", "family", "gauge", "histogram", "parse", "register", "serve"]

# A series more for each counter and histogram, which nothing reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
"""The operator's own."""

for collector in (ProcessCollector, PlatformCollector, GCCollector):
    collector(registry=REGISTRY)

counter = functools.partial(Counter, registry=REGISTRY)
gauge = functools.partial(Gauge, registry=REGISTRY)
histogram = functools.partial(Histogram, registry=REGISTRY)


def register(collector: Collector) -> None:
    """Export what a collector makes at each scrape, in the thread of the page."""
    REGISTRY.register(collector)


def family(kind: str, name: str, documentation: str, labels: Sequence[str]) -> CounterMetricFamily | GaugeMetricFamily:
    """A metric for a collector to add series to.

    Args:
        kind: counter or gauge.
        name: Of a counter without `_total`.
        documentation: Its help.
        labels: Names of its labels.
    """
    made = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    return made(name, documentation, labels=labels)


def serve(port: int) -> None:
    """Serve `/metrics` on its own port, from a thread of its own; on IPv6 too where the kernel has it."""
    address = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - the pod's own
    start_http_server(port, addr=address, registry=REGISTRY)


def parse(page: str) -> Iterable[Metric]:
    """The metrics of a page in Prometheus' text format.

    Raises:
        ValueError: It is not in that format.
    """
    return text_string_to_metric_families(page)
