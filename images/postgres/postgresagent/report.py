"""Publishes the agent's pages over HTTP: its status for the operator, and metrics. They contain no secrets."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STATUS_PATH, METRICS_PATH = "/status", "/metrics"


@dataclass(frozen=True)
class Page:
    """What a path answers: the type of the content, and what makes it."""

    content_type: str
    content: Callable[[], bytes]


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    daemon_threads = True

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(port: int, pages: Mapping[str, Page], address: str = "") -> ThreadingHTTPServer:
    """Answer GET of each path with its page, each request in a thread of its own; port 0 picks a free one.

    Args:
        port: Where to listen.
        pages: By path.
        address: Of the interface, if not all: an IPv4 address.

    Raises:
        OSError: The port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5
        """Seconds for one request, so that an idle connection does not occupy a thread."""

        def do_GET(self) -> None:
            page = pages.get(urlsplit(self.path).path)
            if page is None:
                self.send_error(404)
                return
            body = page.content()
            self.send_response(200)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log no requests."""

    mapped = address and _Server.address_family == socket.AF_INET6
    server = _Server((f"::ffff:{address}" if mapped else address, port), Handler)
    Thread(target=server.serve_forever, name="report", daemon=True).start()
    return server
