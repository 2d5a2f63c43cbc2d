"""Prometheus metrics, and the small server that publishes them on their own port."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer

from chatserver import supervision
from chatserver.listener import open_listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

# From the commit to the push: milliseconds when healthy (a NOTIFY and a query), 5 s when the bus is lost.
DELIVERY_BUCKETS_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Long polls are not measured: they may take a minute without being slow.
REQUEST_BUCKETS_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
METRICS_PATH = "/metrics"


class Metrics:
    """This server's metrics; no label holds a value that a user chose.

    Attributes:
        connections: open WebSockets.
        draining: 1 after SIGTERM.
        shed: clients that this server moved because it had more than its share of the connections.
        proxy_moves: clients that this server moved to another proxy because theirs drains.
        messages: sends by result: ``stored``, ``duplicate``, ``rejected``, ``limited``, ``unavailable``.
        codes: ``sent``, ``failed`` (given up), ``refused`` (the sender's queue was full: status 503).
        rate_limited: rejections by limit: ``messages``, ``bytes``, ``polls``, ``device``, ``address``, ``codes``,
            ``tries``.
        handshake_wait_seconds: time of each handshake in the queue; it grows in a reconnect storm.
        delivery_seconds: from a message's commit to its frame being handed to a connection's outbox.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(_Defects())
        self.connections = Gauge("chatserver_connections", "Open WebSockets", registry=self.registry)
        self.draining = Gauge("chatserver_draining", "1 while the server drains", registry=self.registry)
        self.shed = Counter(
            "chatserver_shed", "Clients moved to servers with fewer connections", registry=self.registry
        )
        self.proxy_moves = Counter(
            "chatserver_proxy_moves", "Clients moved to another proxy because theirs drains", registry=self.registry
        )
        self.messages = Counter(
            "chatserver_messages", "Messages that clients sent, by result", ["result"], registry=self.registry
        )
        for result in ("stored", "duplicate", "rejected", "limited", "unavailable"):
            self.messages.labels(result)
        self.codes = Counter(
            "chatserver_codes",
            "Sign-in codes by result: sent, failed (the server gave up), refused (503, because too many codes waited)",
            ["result"],
            registry=self.registry,
        )
        for result in ("sent", "failed", "refused"):
            self.codes.labels(result)
        self.codes_waiting = Gauge(
            "chatserver_codes_waiting", "Sign-in codes that wait to be sent", registry=self.registry
        )
        self.rate_limited = Counter(
            "chatserver_rate_limited", "Requests rejected by a rate limit, by limit", ["limit"], registry=self.registry
        )
        for limit in ("messages", "polls", "bytes", "device", "address", "codes", "tries"):
            self.rate_limited.labels(limit)
        self.delivery_seconds = Histogram(
            "chatserver_delivery_seconds",
            "Time from the commit of a message until its frame is queued for a connected recipient",
            buckets=DELIVERY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.handshake_wait_seconds = Histogram(
            "chatserver_handshake_wait_seconds",
            "Time that a WebSocket handshake waited before the server processed it",
            buckets=DELIVERY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.http_requests = Counter(
            "chatserver_http_requests",
            "HTTP requests by route template, method and status",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.http_seconds = Histogram(
            "chatserver_http_request_seconds",
            "Time to answer an HTTP request, long polls excluded",
            ["route"],
            buckets=REQUEST_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.frames_received = Counter(
            "chatserver_frames_received",
            "WebSocket frames of clients, by what the server did with them",
            ["action"],
            registry=self.registry,
        )
        # A look-up of a label costs more than an increment.
        self._frames: dict[str, Counter] = {}
        self.closed = Counter(
            "chatserver_connections_closed",
            "WebSockets that the server closed, by close code",
            ["code"],
            registry=self.registry,
        )
        self.bus_connected = Gauge(
            "chatserver_bus_connected",
            "1 while the server receives notifications from the database (LISTEN)",
            registry=self.registry,
        )
        self.bus_hints = Counter(
            "chatserver_bus_hints", "Notifications received from other servers", registry=self.registry
        )
        self.gaps_healed = Counter(
            "chatserver_gaps_healed",
            "Messages found by re-reading a chat because their notification was lost",
            registry=self.registry,
        )
        self.write_queue = Gauge(
            "chatserver_write_queue_depth", "Messages that wait for a commit", registry=self.registry
        )
        self.pool_size = Gauge(
            "chatserver_database_pool_connections", "Open connections to the database", registry=self.registry
        )
        self.pool_idle = Gauge(
            "chatserver_database_pool_idle", "Idle connections to the database", registry=self.registry
        )
        self.database_seconds = Histogram(
            "chatserver_database_call_seconds",
            "Duration of database calls by result, including the wait for a connection",
            ["result"],
            buckets=REQUEST_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.volume_full = Gauge(
            "chatserver_database_volume_full", "1 while the database's volume is full", registry=self.registry
        )
        self.database_login = Gauge(
            "chatserver_database_login",
            "1 for the database role with which the server opens new connections",
            ["role"],
            registry=self.registry,
        )
        self._login: str | None = None
        self.database_up = Gauge("chatserver_database_up", "1 while the database answers", registry=self.registry)

    def count_code(self, result: str) -> None:
        """Count a sign-in code by its result: ``sent``, ``failed`` or ``refused``."""
        self.codes.labels(result).inc()

    def count_rate_limited(self, limit: str) -> None:
        """Count a request that a rate limit rejected."""
        self.rate_limited.labels(limit).inc()

    def count_frame(self, action: str) -> None:
        """Count a frame of a client by what the server did with it."""
        counter = self._frames.get(action)
        if counter is None:
            counter = self._frames[action] = self.frames_received.labels(action)
        counter.inc()

    def show_login(self, role: str) -> None:
        """Publish the role in the DSN: after a rotation of the password the operator waits for the new one."""
        if role != self._login:
            self.database_login.clear()
            self.database_login.labels(role).set(1)
            self._login = role

    def observe_database_call(self, seconds: float, succeeded: bool) -> None:  # noqa: FBT001 - the pool's callback
        """Record the duration of one database call."""
        self.database_seconds.labels("ok" if succeeded else "failed").observe(seconds)


class _Defects:
    """Publishes the unexpected exceptions that ``supervision`` counted."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return one family: unexpected exceptions by the name of their log event."""
        family = CounterMetricFamily(
            "chatserver_defects", "Unexpected exceptions by the name of their log event", labels=["event"]
        )
        for event, count in ({"loop_failed": 0} | supervision.defects()).items():
            family.add_metric([event], count)
        yield family


class _SilentHandler(WSGIRequestHandler):
    """Logs no scrapes."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class MetricsServer:
    """Serves ``/metrics`` from a thread, so that a stalled event loop can still be seen.

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

        self._server = ThreadingWSGIServer((host, port), _SilentHandler, bind_and_activate=False)
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

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
