"""The page that Prometheus scrapes, and the small server for it; the only importer of prometheus_client in a server.

A scrape runs in a thread of its own, so that a stalled event loop can still be seen. The thread needs Python's lock for
all that it renders, some 10 us a series, and the event loop would get it back only after the switch interval, 5 ms, at
each of its turns. So the thread gives the lock up after every few series.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample

from chatserver.listener import open_listener
from chatserver.metrics.instruments import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from chatserver.metrics.instruments import Families, Family, Gauge, Total

METRICS_PATH = "/metrics"

SLICE_SERIES: Final = 16
"""Series that are rendered in one go: some 0.2 ms."""

PAUSE_SECONDS: Final = 0.0001
"""Long enough for a waiting thread to take Python's lock; after a sleep of 0 it would often come too late."""

READ_LATELY_SECONDS: Final = 3.0
"""Who read the page within this time reads it again soon: the operator comes every second while a server drains."""

LAST_READ_SECONDS: Final = 3.0
"""Longest wait for that reader: a pod has 15 s after its drain."""


def _pause() -> None:
    time.sleep(PAUSE_SECONDS)


def make_registry(families: Families, pause: Callable[[], None] = _pause) -> CollectorRegistry:
    """Return what renders the families, and those of every Python process.

    Args:
        families: in the order of the page.
        pause: called after each SLICE_SERIES series.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    for family in families.all():
        # A collector each: a scrape that names some metrics renders only these.
        registry.register(_FamilyCollector(family, pause))
    return registry


class _FamilyCollector:
    """Renders one family."""

    def __init__(self, family: Family[Any], pause: Callable[[], None]) -> None:
        self._family = family
        self._pause = pause
        # As prometheus_client's own metrics have them, for what lists the labels of metrics without series.
        self._labelnames = family.label_names

    def describe(self) -> Iterable[Metric]:
        """Return the family without its series; ``name[]`` finds it by this."""
        return [Metric(self._family.name, self._family.text, self._family.kind)]

    def collect(self) -> Iterable[Metric]:
        """Return the family; its series are made as they are rendered."""
        if self._family.refresh is not None:
            self._family.refresh()
        metric = Metric(self._family.name, self._family.text, self._family.kind)
        metric.samples = self._in_slices(_samples(self._family))  # type: ignore[assignment] # it is only iterated over
        return [metric]

    def _in_slices(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        for number, sample in enumerate(samples):
            if number % SLICE_SERIES == 0:
                self._pause()
            yield sample


def _samples(family: Family[Any]) -> Iterator[Sample]:
    # A copy: the event loop adds instruments meanwhile.
    instruments: list[tuple[tuple[str, ...], Total | Gauge | Histogram]] = [*family.instruments.items()]
    for values, instrument in instruments:
        labels = dict(zip(family.label_names, values, strict=True))
        if isinstance(instrument, Histogram):
            yield from _histogram_samples(family.name, labels, instrument)
        else:
            yield Sample(f"{family.name}_total" if family.kind == "counter" else family.name, labels, instrument.value)


def _histogram_samples(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterator[Sample]:
    # One look at the counts, so that the buckets and their total agree.
    counts, total = list(histogram.counts), 0
    for place, (bound, count) in enumerate(zip((*histogram.bounds, float("inf")), counts, strict=True)):
        total += count
        kept = histogram.exemplars.get(place)
        exemplar = None if kept is None else Exemplar(dict(kept.labels), kept.value, kept.at)
        yield Sample(f"{name}_bucket", {**labels, "le": _bound(bound)}, total, None, exemplar)
    yield Sample(f"{name}_count", dict(labels), total)
    yield Sample(f"{name}_sum", dict(labels), histogram.sum)


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(float(bound))


class _SilentHandler(WSGIRequestHandler):
    """Logs no scrapes."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class _Server(ThreadingWSGIServer):
    """Remembers when it was read."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _SilentHandler, bind_and_activate=False)
        self._read = threading.Condition()
        # Of the read that began last and is complete; before the first one long ago.
        self._began_at = -READ_LATELY_SECONDS

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer one request, in a thread of its own."""
        began_at = time.monotonic()
        super().finish_request(request, client_address)
        with self._read:
            self._began_at = max(self._began_at, began_at)
            self._read.notify_all()

    def await_reader(self) -> None:
        """Wait until a read that begins from now on is complete, if there was one lately."""
        now = time.monotonic()
        with self._read:
            if now - self._began_at < READ_LATELY_SECONDS:
                self._read.wait_for(lambda: self._began_at >= now, LAST_READ_SECONDS)


class MetricsServer:
    """Serves ``/metrics`` from a thread; ``?name[]=`` restricts the page to some metrics.

    Args:
        registry: what to publish.
        host: address to listen on.
        port: TCP port; 0 picks a free one.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        publish: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]] = make_wsgi_app(registry)

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == METRICS_PATH:
                return publish(environ, start_response)
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"only /metrics is here\n"]

        self._server = _Server(host, port)
        self._server.socket.close()
        self._server.socket = open_listener(host, port, backlog=ThreadingWSGIServer.request_queue_size)
        self._server.server_name, self._server.server_port = host, self._server.socket.getsockname()[1]
        self._server.setup_environ()
        self._server.set_app(application)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return self._server.server_port

    def start(self) -> None:
        """Begin to answer scrapes."""
        self._thread.start()

    def await_reader(self) -> None:
        """Block until a reader that comes every second has the present values; 3 s at most, and 0 without one."""
        self._server.await_reader()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
