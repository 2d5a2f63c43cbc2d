"""Publishes the agent's status over HTTP, for the operator. It contains no secrets."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/status"


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    daemon_threads = True

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(port: int, status: Callable[[], Any]) -> ThreadingHTTPServer:
    """Answer GET /status with what `status` returns, from a separate thread; port 0 picks a free one.

    Raises:
        OSError: The port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5
        """Seconds for one request, so that an idle connection does not occupy a thread."""

        def do_GET(self) -> None:
            if self.path != PATH:
                self.send_error(404)
                return
            body = json.dumps(status()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log no requests."""

    server = _Server(("", port), Handler)
    Thread(target=server.serve_forever, name="report", daemon=True).start()
    return server
