"""All open WebSockets together: what is done for each of them by the clock, and the memory that they keep."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from chatserver.supervision import caught
from chatserver.transport.kept import READ_BUFFER_BYTES, Kept

if TYPE_CHECKING:
    from chatserver.transport.websocket import Socket

# Between two looks at all connections: 10,000 of them take 3 ms.
SWEEP_SECONDS = 1.0


class Sockets:
    """All sockets of this server, so that one loop looks after them: a timer each would cost more than the socket.

    Attributes:
        kept: their large read buffers.
        paused: how many of them have a peer that does not read.
    """

    def __init__(self) -> None:
        self.kept = Kept(READ_BUFFER_BYTES, "large_frames_given_up")
        self.paused = 0
        self._sockets: set[Socket] = set()

    def add(self, socket: Socket) -> None:
        """Look after a socket from now on."""
        self._sockets.add(socket)

    def discard(self, socket: Socket) -> None:
        """Forget a socket."""
        self._sockets.discard(socket)
        self.kept.release(socket)

    async def run(self) -> None:
        """Look after them until cancelled; one whose upkeep fails is cut, since it would not be pinged any more."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for socket in list(self._sockets):
                try:
                    socket.look_after(now)
                except Exception as error:  # noqa: BLE001 - the others are looked after all the same
                    caught("upkeep_failed", error)
                    self._cut(socket)

    def _cut(self, socket: Socket) -> None:
        try:
            socket.cut()
        except Exception as error:  # noqa: BLE001 - it cannot even be cut: forget it
            caught("upkeep_failed", error)
            self.discard(socket)
