"""HTTP connections that take what a client still sends of a refused request, or the refusal would not reach it."""

from __future__ import annotations

from typing import Any

from sanic.server.protocols.http_protocol import HttpProtocol

# A client that goes on sending reads its answer after that, or when the sending fails.
LINGER_SECONDS = 5.0
LINGER_BYTES = 16 * 1024 * 1024


class LingeringHttpProtocol(HttpProtocol):
    """Closes by halves after an answer that did not wait for the whole request.

    A socket that is closed with bytes unread sends a reset, and the reset may overtake the answer at the client.
    """

    __slots__ = ("_bytes_left", "_lingers")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lingers = False
        self._bytes_left: int | None = None

    def linger(self) -> None:
        """Have the next close wait for the client, up to LINGER_SECONDS and LINGER_BYTES."""
        self._lingers = True

    def close(self, timeout: float | None = None) -> None:
        """Say that nothing more will come, and close when the client does or has had its time."""
        if not self._lingers or self.transport is None or self.transport.is_closing():
            super().close(timeout)
            return
        self._lingers = False
        self._bytes_left = LINGER_BYTES
        self.recv_buffer.clear()
        self.transport.write_eof()
        self.transport.resume_reading()
        self.loop.call_later(LINGER_SECONDS, super().close)

    def data_received(self, data: bytes) -> None:
        """Take what comes; after the answer, drop it."""
        if self._bytes_left is None:
            super().data_received(data)
            return
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            super().close()
