"""WebSockets: how many there are, and how they begin and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chatserver.metrics.buckets import LATENCY_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families, Total

OPENED: Final = ("accepted", "unauthenticated", "full", "draining", "forbidden", "limited", "unavailable", "invalid")
"""Results of requests for a WebSocket."""

CLOSED: Final = (
    ("0", "client"),
    ("0", "network"),
    ("0", "ping_timeout"),
    ("0", "moved"),
    ("0", "defect"),
    ("1002", "protocol"),
    ("1007", "protocol"),
    ("1009", "protocol"),
    ("1011", "defect"),
    ("1012", "restart"),
    ("4001", "signed_out"),
    ("4008", "protocol"),
    ("4008", "slow_reader"),
    ("4009", "replaced"),
)
"""Close codes of this server, 0 if it sent none, with the reasons that they have."""


class ConnectionMetrics:
    """Connections of clients.

    Attributes:
        open: WebSockets that are open.
        handshake_wait_seconds: of each handshake in the queue; it grows in a reconnect storm.
        opened: by ``OPENED``.
        closed: by close code and reason.
        shed: clients that this server moved because it had more than its share of the connections.
        proxy_moves: clients that this server moved to another proxy because theirs drains.
        frames: of clients, by what the server did with them.
    """

    def __init__(self, families: Families) -> None:
        self.open = families.gauge("chatserver_connections", "Open WebSockets")
        self.handshake_wait_seconds = families.histogram(
            "chatserver_handshake_wait_seconds",
            "Time that a WebSocket handshake waited before the server processed it",
            LATENCY_SECONDS,
        )
        self.opened = families.counters(
            "chatserver_connections_opened",
            "Requests for a WebSocket, by result: accepted, unauthenticated (no valid token or ticket), full (503),"
            " draining (503), forbidden (the page's origin), limited (429), unavailable (the database did not answer),"
            " invalid (no valid handshake)",
            ["result"],
            [(result,) for result in OPENED],
        )
        self.closed = families.counters(
            "chatserver_connections_closed",
            "WebSockets that ended, by the close code that the server sent (0: none) and the reason: client (it said"
            " goodbye), network (it disappeared), ping_timeout, slow_reader, restart (of this server), moved (the"
            " server sent it a request to reconnect), replaced (the device connected again), signed_out,"
            " protocol (the client broke the protocol or its limits), defect (of this server)",
            ["code", "reason"],
            CLOSED,
        )
        self.slow_readers = families.gauge(
            "chatserver_slow_readers", "WebSockets whose client takes nothing at the moment, so that frames wait for it"
        )
        self.shed = families.counter("chatserver_shed", "Clients moved to servers with fewer connections")
        self.proxy_moves = families.counter(
            "chatserver_proxy_moves", "Clients moved to another proxy because theirs drains"
        )
        self.frames = families.counters(
            "chatserver_frames_received", "WebSocket frames of clients, by what the server did with them", ["action"]
        )

    def count_frame(self, action: str) -> None:
        """Count a frame of a client by what the server did with it."""
        counter: Total = self.frames.labels(action)
        counter.value += 1
