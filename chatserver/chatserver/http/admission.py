"""Lets a crowd in a few at a time: handshakes of WebSockets wait unread, so that whoever is here is served meanwhile.

When a server ends, its clients come to the others within a second or two. Each handshake and the sync behind it cost
about a millisecond; read as they come, thousands of them fill turn after turn of the loop, and a message that comes
then waits for all of them. What waits here costs nothing but its bytes, and is forgotten when the client gives up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from chatserver.http.lingering import LingeringConnection
from chatserver.transport.kept import LARGE_REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

HANDSHAKES_AT_ONCE = 16
"""In one turn of the loop they take some 5 ms at most; one takes about 10 ms, most of it PostgreSQL's."""

PLACE_SECONDS = 0.05
"""A handshake that takes longer waits for something else than this process: it goes on, and the next one begins."""

_HANDSHAKE = (b"GET /api/ws ", b"GET /api/ws?")


class Comer(Protocol):
    """Whoever waits to be let in."""

    def admitted(self) -> None:
        """Hear that it is their turn."""


class Admission:
    """Places for handshakes, given in the order in which they are asked for.

    Args:
        at_once: places.
        place_seconds: after which a place is given to the next, whatever becomes of the handshake that had it.
        on_let_in: told the seconds that each has waited, for metrics.
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
        self._inside: dict[Comer, asyncio.TimerHandle] = {}
        # Since when, of the loop's clock.
        self._waiting: dict[Comer, float] = {}

    def enter(self, comer: Comer) -> bool:
        """Ask for a place: True if there is one, else ``comer.admitted`` is called when there is."""
        now = asyncio.get_running_loop().time()
        if len(self._inside) < self._at_once:
            self._let_in(comer, now)
            return True
        self._waiting[comer] = now
        return False

    def leave(self, comer: Comer) -> None:
        """Give the place up, or stop waiting for one; nothing happens to whoever has neither."""
        self._waiting.pop(comer, None)
        place = self._inside.pop(comer, None)
        if place is None:
            return
        place.cancel()
        if self._waiting:
            following = next(iter(self._waiting))
            self._let_in(following, self._waiting.pop(following))
            # In the next turn of the loop: what else has come is served before.
            asyncio.get_running_loop().call_soon(following.admitted)

    def _let_in(self, comer: Comer, since: float) -> None:
        loop = asyncio.get_running_loop()
        self._inside[comer] = loop.call_later(self._place_seconds, self.leave, comer)
        if self._on_let_in is not None:
            self._on_let_in(loop.time() - since)


class AdmittingConnection(LingeringConnection):
    """An HTTP connection that reads the handshake of a WebSocket when there is a place for it."""

    __slots__ = ("_unread",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._unread: bytearray | None = None

    def data_received(self, data: bytes) -> None:
        """Hand over what comes, or keep it until there is a place."""
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
        """Make room for the next one."""
        self.app.ctx.admission.leave(self)
        super().connection_lost(exc)
