"""Reconnect storms: handshakes of WebSockets are read a few at a time, so that connected clients are served meanwhile.

When a server stops, its clients reconnect to the others within a second or two. Each handshake and the sync behind it
cost about a millisecond; read as they arrive, thousands of them fill turn after turn of the loop, and a message that
arrives then waits for all of them. A waiting handshake costs only its bytes, and is dropped when the client gives up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from chatserver.http.lingering import LingeringConnection
from chatserver.transport.kept import LARGE_REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

HANDSHAKES_AT_ONCE = 16
"""In one turn of the loop they take some 5 ms at most; one takes about 10 ms, most of it in PostgreSQL."""

PLACE_SECONDS = 0.05
"""A handshake that takes longer waits for something else than this process: it continues, and the next one begins."""

_HANDSHAKE = (b"GET /api/ws ", b"GET /api/ws?")


class Waiter(Protocol):
    """A connection that waits for a place."""

    def admitted(self) -> None:
        """Hear that there is a place now."""


class Admission:
    """Places for handshakes, given in the order of the requests for them.

    Args:
        at_once: places.
        place_seconds: after which a place is given to the next handshake, even if the first has not finished.
        on_let_in: called with the seconds that each has waited, for metrics.
    """

    def __init__(
        self,
        at_once: int = HANDSHAKES_AT_ONCE,
        place_seconds: float = PLACE_SECONDS,
        *,
        on_let_in: Callable[[float], None] | None = None,
    ) -> None:
        self._at_once = at_once
        self._place_seconds = place_seconds
        self._on_let_in = on_let_in
        self._inside: dict[Waiter, asyncio.TimerHandle] = {}
        # Since when, of the loop's clock.
        self._waiting: dict[Waiter, float] = {}

    def enter(self, waiter: Waiter) -> bool:
        """Request a place: True if there is one, else ``waiter.admitted`` is called when there is."""
        now = asyncio.get_running_loop().time()
        if len(self._inside) < self._at_once:
            self._let_in(waiter, now)
            return True
        self._waiting[waiter] = now
        return False

    def leave(self, waiter: Waiter) -> None:
        """Give the place up, or stop waiting for one; does nothing for a connection that has neither."""
        self._waiting.pop(waiter, None)
        place = self._inside.pop(waiter, None)
        if place is None:
            return
        place.cancel()
        if self._waiting:
            following = next(iter(self._waiting))
            self._let_in(following, self._waiting.pop(following))
            # In the next turn of the loop: what else has arrived is served before.
            asyncio.get_running_loop().call_soon(following.admitted)

    def _let_in(self, waiter: Waiter, since: float) -> None:
        loop = asyncio.get_running_loop()
        self._inside[waiter] = loop.call_later(self._place_seconds, self.leave, waiter)
        if self._on_let_in is not None:
            self._on_let_in(loop.time() - since)


class AdmittingConnection(LingeringConnection):
    """An HTTP connection that reads the handshake of a WebSocket when there is a place for it."""

    __slots__ = ("_unread",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._unread: bytearray | None = None

    def data_received(self, data: bytes) -> None:
        """Hand over what arrives, or keep it until there is a place."""
        if self._unread is not None:
            self._unread += data
            if len(self._unread) > LARGE_REQUEST_BYTES and self.transport is not None:
                self.transport.pause_reading()
            return
        if self.is_idle and data.startswith(_HANDSHAKE) and not self.app.ctx.admission.enter(self):
            self._unread = bytearray(data)
            return
        super().data_received(data)

    def admitted(self) -> None:
        """Read what has been kept."""
        kept, self._unread = self._unread, None
        if kept is not None and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            super().data_received(bytes(kept))

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        self.app.ctx.admission.leave(self)
        super().connection_lost(exc)
