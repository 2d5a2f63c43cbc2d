"""HTTP connections whose requests have to arrive in time, and whose answers wait for the rest of their request.

What stands in front keeps a client's connection for as long as the rest of an answered request trickles in, without an
end, and reuses ours for somebody else's request as soon as an answer is complete. So an answer that comes before its
request has been read says `Connection: close`, and keeps back its last byte until the rest is here. Where that does not
come in time the answer stays incomplete, and the proxy ends the client's connection with ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic.exceptions import RequestTimeout
from sanic.http.constants import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from chatserver.http.context import answered_to, client_address
from chatserver.http.reading import CheckedHttp
from chatserver.listener import plain_address
from chatserver.transport.kept import LARGE_REQUEST_BYTES

if TYPE_CHECKING:
    import asyncio

    from sanic.http import Http

LEAST_BYTES_PER_SECOND = 8 * 1024
"""A request that is still arriving after its time must have come this fast: 64 kbit/s."""

LEAST_CHECK_SECONDS = 0.1
"""Between two looks at a request that arrives; Sanic's own least."""

LINGER_SECONDS = 5.0
"""What is left of an answered request has to arrive in this time."""

LINGER_BYTES = 16 * 1024 * 1024
"""What is read of it at the most."""


def is_late(seconds: float, received_bytes: int, patience_seconds: float) -> bool:
    """Return whether a request should have been here by now.

    Args:
        seconds: since its first byte.
        received_bytes: of it so far.
        patience_seconds: that any request may take: with 20, 1 MiB may take 148 s.
    """
    return seconds > patience_seconds + received_bytes / LEAST_BYTES_PER_SECOND


def _has_unread_body(http: Http) -> bool:
    # Before its first request Sanic's object has no such attribute.
    return bool(getattr(http, "request_body", None))


class LingeringHttpProtocol(HttpProtocol):
    """An HTTP connection.

    Attributes:
        is_unreadable: where the request that is being read ends is unknown, so that nothing after it can be read.
    """

    HTTP_CLASS = CheckedHttp
    __slots__ = ("_answered", "_began", "_bytes_left", "_end", "_is_late", "_linger", "_received", "is_unreadable")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._began = 0.0
        self._received = 0
        self._is_late = False
        self.is_unreadable = False
        # What was answered before it was read, and the last byte of that answer.
        self._answered: Http | None = None
        self._end = b""
        self._linger: asyncio.TimerHandle | None = None
        # Once what comes is dropped unread.
        self._bytes_left: int | None = None

    def answer_early(self, http: Http) -> None:
        """Hear that an answer is about to be sent to a request of which not all is read.

        Args:
            http: where the request is being read.
        """
        # True with a Content-Length, "chunked" without, whatever Sanic's types say.
        body: object = http.request_body
        left = http.request_bytes_left
        if body is True and left is not None and len(http.recv_buffer) >= left:
            del http.recv_buffer[:left]
            http.request_body = None
            return
        http.keep_alive = False
        # Sanic reads the rest when it has answered.
        http.request_max_size = self.request_max_size = LINGER_BYTES
        self._answered = http
        http._send = self._send_all_but_end  # noqa: SLF001 - the one place that each part of an answer passes
        if self._is_late:
            http.request_body = None
        else:
            self._linger = self.loop.call_later(LINGER_SECONDS, self._give_up)

    async def _send_all_but_end(self, data: bytes) -> None:
        known = self._end + data
        self._end = known[-1:]
        if len(known) > 1:
            await self.send(known[:-1])

    async def send(self, data: bytes) -> None:
        """Send a part of an answer, which counts as unread until the client has read nearly all of it."""
        if self._received > LARGE_REQUEST_BYTES:
            self.app.ctx.arriving.release(self)
        if not self._can_write.is_set() and self.transport is not None:
            # Behind another one, which is still held.
            self._hold(self.transport.get_write_buffer_size() + len(data))
        await super().send(data)  # type: ignore[no-untyped-call] # Sanic's
        if not self._can_write.is_set():
            # All of it is kept until its last byte has gone, whatever the kernel has taken by now.
            self._hold(len(data))

    def resume_writing(self) -> None:
        """Hear that it has read nearly all."""
        self.app.ctx.unread.release(self)
        super().resume_writing()  # type: ignore[no-untyped-call] # Sanic's

    def _hold(self, size: int) -> None:
        request = None if self.http is None else self.http.request
        self.app.ctx.unread.hold(self, None if request is None else answered_to(request), size)

    def give_up(self) -> None:
        """End the connection at once: too much is kept for it."""
        if self.transport is not None:
            self.transport.abort()

    def check_timeouts(self) -> None:
        """Look, now and again, whether a request takes too long to arrive; the rest is Sanic's."""
        http = self.http
        is_arriving = http is not None and (http.stage is Stage.REQUEST or _has_unread_body(http))
        if self._task is None or not is_arriving:
            super().check_timeouts()  # type: ignore[no-untyped-call] # Sanic's
            return
        if not is_late(self.loop.time() - self._began, self._received, self.request_timeout):
            # Not by Sanic, which looks no more once a request says that it is a WebSocket's.
            delay = max(LEAST_CHECK_SECONDS, self.request_timeout / 2)
            self._callback_check_timeouts = self.loop.call_later(delay, self.check_timeouts)
            return
        self._is_late = True
        http.exception = RequestTimeout("Request Timeout")
        self._task.cancel()

    def close(self, timeout: float | None = None) -> None:
        """Close, or drop what still comes until the client is done or has had its time."""
        answered = self._answered
        if self.transport is None or self.transport.is_closing():
            super().close(timeout)
        elif self.is_unreadable and not self._is_late:
            self._end_unread()
        elif answered is None:
            super().close(timeout)
        elif self._is_late:
            self._give_up()
        elif answered.request_body is None:
            self._complete()
            super().close(timeout)
        elif self._bytes_left is None:
            self._bytes_left = LINGER_BYTES
            self.recv_buffer.clear()
            self.transport.resume_reading()

    def _end_unread(self) -> None:
        """Send no more, and drop what comes: a connection that is closed with unread bytes takes its answer along."""
        self.is_unreadable = False
        if self.transport is not None:
            self.transport.write_eof()
            self._bytes_left = LINGER_BYTES
            self._linger = self.loop.call_later(LINGER_SECONDS, self._give_up)
            self.recv_buffer.clear()
            self.transport.resume_reading()

    def _complete(self) -> None:
        """Send what was kept back of the answer."""
        if self.transport is not None and self._answered is not None:
            self.transport.write(self._end)
        self._answered = None

    def _give_up(self) -> None:
        self._answered = None
        super().close()

    def data_received(self, data: bytes) -> None:
        """Take what comes; drop it where nobody reads it any more."""
        if self._bytes_left is not None:
            self._bytes_left -= len(data)
            if self._bytes_left < 0:
                self._give_up()
            return
        http = self.http
        if http is None or (http.stage is Stage.IDLE and not _has_unread_body(http) and not self.recv_buffer):
            self._began = self.loop.time()
            self._received = 0
        self._received += len(data)
        if self._received > LARGE_REQUEST_BYTES:
            request = None if http is None else http.request
            owner = None if request is None else client_address(request)
            self.app.ctx.arriving.hold(self, owner, self._received)
        super().data_received(data)

    def eof_received(self) -> None:
        """Hear that the client sends no more, and waits for all of its answer."""
        if self._bytes_left is not None:
            self._complete()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)  # type: ignore[no-untyped-call] # Sanic's
        if self.conn_info is not None:
            self.conn_info.client_ip = plain_address(self.conn_info.client_ip)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._linger is not None:
            self._linger.cancel()
        self.app.ctx.unread.release(self)
        self.app.ctx.arriving.release(self)
        super().connection_lost(exc)  # type: ignore[no-untyped-call] # Sanic's
