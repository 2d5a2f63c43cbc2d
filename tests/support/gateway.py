"""A gateway for sign-in codes on loopback: a real HTTP server that remembers what was posted and answers as told."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

HANG = 0
"""An answer that does not come until the gateway is closed."""


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


class Gateway:
    """Use it as a context manager.

    Args:
        statuses: of its answers, in order; the last one goes on for ever.
        tls: what it proves who it is with; None: plain HTTP.
    """

    def __init__(self, statuses: Sequence[int] = (204,), *, tls: ssl.SSLContext | None = None) -> None:
        self.posted: list[Posted] = []
        self._statuses = list(statuses)
        self._closing = threading.Event()
        self._changed = threading.Condition()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = gateway.take(Posted(self.path, dict(self.headers.items()), body))
                if status == HANG:
                    gateway.wait_closing()
                    self.close_connection = True
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - the base class looks for this name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}/codes?key=in-the-url"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, posted: Posted) -> int:
        """Remember a request; returns the status to answer with."""
        with self._changed:
            self.posted.append(posted)
            self._changed.notify_all()
            return self._statuses[min(len(self.posted), len(self._statuses)) - 1]

    def wait_closing(self) -> None:
        """Return when the gateway closes."""
        self._closing.wait()

    def wait_for(self, count: int, seconds: float = 30) -> list[Posted]:
        """Return what was posted once there are so many requests."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.posted) >= count, seconds), self.posted
            return list(self.posted)
