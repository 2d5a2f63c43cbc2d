"""HTTP connections whose requests have to arrive in time, and whose answers wait for the rest of their request.

A proxy in front keeps a client's connection for as long as the rest of an answered request trickles in, without a
limit, and reuses ours for another client's request as soon as an answer is complete. So an answer that comes before its
request has been read says `Connection: close`, and keeps back its last byte until the rest is here. Where that does not
come in time the answer stays incomplete, and the proxy ends the client's connection with ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatserver.http.context import answered_to, client_address
from chatserver.http.sanic_server import HttpConnection, connection_of
from chatserver.transport.kept import LARGE_REQUEST_BYTES

if TYPE_CHECKING:
    import asyncio

    from chatserver.http.context import Request

LEAST_BYTES_PER_SECOND = 8 * 1024
"""A request that is still arriving after its time must have come this fast: 64 kbit/s."""

LINGER_SECONDS = 5.0
"""The rest of an answered request has to arrive in this time."""

LINGER_BYTES = 16 * 1024 * 1024
"""Bytes of it that are read at most."""


def is_late(seconds: float, received_bytes: int, patience_seconds: float) -> bool:
    """Return whether a request should have been here by now.

    Args:
        seconds: since its first byte.
        received_bytes: of it so far.
        patience_seconds: that any request may take: with 20, 1 MiB may take 148 s.
    """
    return seconds > patience_seconds + received_bytes / LEAST_BYTES_PER_SECOND


class LingeringConnection(HttpConnection):
    """An HTTP connection."""

    __slots__ = ("_began", "_bytes_left", "_end", "_is_late", "_linger", "_owes_end", "_received")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._began = 0.0
        self._received = 0
        self._is_late = False
        # Whether the last byte of an answer is kept back until its request has been read, and that byte.
        self._owes_end = False
        self._end = b""
        self._linger: asyncio.TimerHandle | None = None
        # Once what arrives is dropped unread.
        self._bytes_left: int | None = None

    def answer_early(self) -> None:
        """Hear that an answer is about to be sent to a request of which not all is read."""
        if self.drop_body_if_here():
            return
        self.end_after_answer(LINGER_BYTES, self._send_all_but_end)
        self._owes_end = True
        if self._is_late:
            self.drop_body()
        else:
            self._linger = self.loop.call_later(LINGER_SECONDS, self._give_up)

    async def _send_all_but_end(self, data: bytes) -> None:
        known = self._end + data
        self._end = known[-1:]
        if len(known) > 1:
            await self.send(known[:-1])

    def before_send(self, size: int) -> None:
        """Count the answer as unread if it waits behind another one that is unread."""
        if self._received > LARGE_REQUEST_BYTES:
            self.app.ctx.arriving.release(self)
        if not self.can_write and self.transport is not None:
            self._hold(self.transport.get_write_buffer_size() + size)

    def after_send(self, size: int) -> None:
        """Count the answer as unread until the client has read nearly all of it."""
        if not self.can_write:
            # All of it is kept until its last byte has gone, whatever the kernel has taken by now.
            self._hold(size)

    def resume_writing(self) -> None:
        """Hear that the client has read nearly all."""
        self.app.ctx.unread.release(self)
        super().resume_writing()  # type: ignore[no-untyped-call] # Sanic's

    def _hold(self, size: int) -> None:
        request = self.current_request
        self.app.ctx.unread.hold(self, None if request is None else answered_to(request), size)

    def give_up(self) -> None:
        """End the connection at once: too much is kept for it."""
        if self.transport is not None:
            self.transport.abort()

    def is_late(self, patience_seconds: float) -> bool:
        """Return whether the request that is arriving has taken too long."""
        return is_late(self.loop.time() - self._began, self._received, patience_seconds)

    def timed_out(self) -> None:
        """Linger no more: what is late has had its time."""
        self._is_late = True

    def finishes(self) -> bool:
        """Drop what still arrives until the client is done or has had its time, then close."""
        if self.is_unreadable and not self._is_late:
            self._end_unread()
            return False
        if not self._owes_end:
            return True
        if self._is_late:
            self._owes_end = False
            return True
        if self.has_read_rest:
            self._complete()
            return True
        if self._bytes_left is None:
            self._bytes_left = LINGER_BYTES
            self.drop_received()
        return False

    def _end_unread(self) -> None:
        """Send no more, and drop what comes: a connection that is closed with unread bytes takes its answer along."""
        self.is_unreadable = False
        if self.transport is not None:
            self.transport.write_eof()
            self._bytes_left = LINGER_BYTES
            self._linger = self.loop.call_later(LINGER_SECONDS, self._give_up)
            self.drop_received()

    def _complete(self) -> None:
        """Send what was kept back of the answer."""
        if self.transport is not None and self._owes_end:
            self.transport.write(self._end)
        self._owes_end = False

    def _give_up(self) -> None:
        self._owes_end = False
        self.close_now()

    def data_received(self, data: bytes) -> None:
        """Take what comes; drop it where nobody reads it any more."""
        if self._bytes_left is not None:
            self._bytes_left -= len(data)
            if self._bytes_left < 0:
                self._give_up()
            return
        if self.is_idle:
            self._began = self.loop.time()
            self._received = 0
        self._received += len(data)
        if self._received > LARGE_REQUEST_BYTES:
            request = self.current_request
            owner = None if request is None else client_address(request)
            self.app.ctx.arriving.hold(self, owner, self._received)
        super().data_received(data)

    def eof_received(self) -> None:
        """Hear that the client sends no more, and waits for all of its answer."""
        if self._bytes_left is not None:
            self._complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._linger is not None:
            self._linger.cancel()
        self.app.ctx.unread.release(self)
        self.app.ctx.arriving.release(self)
        super().connection_lost(exc)  # type: ignore[no-untyped-call] # Sanic's


def cut_off(request: Request) -> None:
    """End the connection of a request at once, in the middle of its answer."""
    connection = connection_of(request)
    if isinstance(connection, LingeringConnection):
        connection.give_up()
