"""One connection's place in the hub: a bounded outbox, and what it has yet to hear."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatserver.protocol import CLOSE_PACE

if TYPE_CHECKING:
    from collections.abc import Callable

# A reader this far behind is not reading: at 100 messages a second it is 20 s late, and a sync serves it better.
MAX_OUTBOX_FRAMES = 2048
# Memory one slow reader may hold; 10,000 of them at once would hold 10 GB, so readers who are merely slow must be rare.
MAX_OUTBOX_BYTES = 1024 * 1024
# Bytes written at a time: the transport is asked after each whether the peer still reads.
WRITE_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class CloseOrder:
    """How a connection ends.

    Attributes:
        flush: write what is queued first; False for a reader that does not read.
    """

    code: int
    reason: str
    flush: bool


class Outbox:
    """Frames waiting to be written to one connection; refuses more than its bounds.

    Args:
        max_frames: frames that may wait.
        max_bytes: bytes that may wait.

    Attributes:
        order: how the connection shall end; None while it goes on.
    """

    __slots__ = ("_bytes", "_frames", "_max_bytes", "_max_frames", "_room", "_wake", "order")

    def __init__(self, max_frames: int = MAX_OUTBOX_FRAMES, max_bytes: int = MAX_OUTBOX_BYTES) -> None:
        self.order: CloseOrder | None = None
        self._frames: list[bytes] = []
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._room: asyncio.Event | None = None
        self._wake: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def attach(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever there is something to take, or an order, where there was nothing before."""
        self._wake = wake
        if self._frames or self.order is not None:
            wake()

    def put(self, frame: bytes) -> bool:
        """Queue a frame; False when the connection is closing or was just found too slow."""
        if self.order is not None:
            return False
        if len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            self.close(CLOSE_PACE, "too slow", flush=False)
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) == 1 and self._wake is not None:
            self._wake()
        return True

    def close(self, code: int, reason: str, *, flush: bool = True) -> None:
        """Order the connection to be closed behind what waits; the first order holds."""
        if self.order is not None:
            return
        self.order = CloseOrder(code, reason, flush)
        if not flush:
            self._frames.clear()
            self._bytes = 0
        if self._wake is not None:
            self._wake()
        self._make_room()

    async def room(self) -> None:
        """Wait until the outbox is less than half full, for producers that can wait (a sync)."""
        while self._is_half_full() and self.order is None:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def take(self) -> list[bytes]:
        """Return the first frames, at most WRITE_BYTES (but one at least); empty: nothing waits."""
        if self._bytes <= WRITE_BYTES:
            taken, self._frames, self._bytes = self._frames, [], 0
        else:
            size = count = 0
            for frame in self._frames:
                if count and size + len(frame) > WRITE_BYTES:
                    break
                size += len(frame)
                count += 1
            taken, self._frames = self._frames[:count], self._frames[count:]
            self._bytes -= size
        if not self._is_half_full():
            self._make_room()
        return taken

    def _is_half_full(self) -> bool:
        return self._bytes * 2 > self._max_bytes or len(self._frames) * 2 > self._max_frames

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


@dataclass(frozen=True, slots=True)
class PushedRow:
    """A row on its way to connections, encoded once.

    Attributes:
        user_ids: local users who may see it.
    """

    chat_id: int
    seq: int
    from_id: int
    client_id: str
    frame: bytes
    user_ids: tuple[int, ...]


class Held:
    """Rows that wait for the end of a connection's sync, all chats together: no more than an outbox may hold.

    Attributes:
        rows: in the order in which they came.
    """

    __slots__ = ("_bytes", "rows")

    def __init__(self) -> None:
        self.rows: list[PushedRow] = []
        self._bytes = 0

    def add(self, row: PushedRow) -> bool:
        """Hold a row; False when there is no room for it."""
        self._bytes += len(row.frame)
        self.rows.append(row)
        return len(self.rows) <= MAX_OUTBOX_FRAMES and self._bytes <= MAX_OUTBOX_BYTES


@dataclass(eq=False, slots=True)
class Connection:
    """One WebSocket.

    Attributes:
        conn_id: name of the connection in ``welcome`` and the logs.
        own_ids: client ids of this connection's sends whose rows have not come by: it gets their ack, not the rows.
        held: rows that came during a sync; None when no sync runs.
        ahead: how far a sync has brought it chats that the hub does not follow for its user yet.
        watched: users whose presence it is told.
        published: the other servers were told of it.
        announced: this server has heard that, too: what it hears of the same device from here on is newer.
        proxy: address of whoever opened it, a proxy's as a rule.
    """

    conn_id: str
    user_id: int
    device_id: int
    outbox: Outbox = field(default_factory=Outbox)
    own_ids: set[str] = field(default_factory=set)
    held: Held | None = None
    ahead: dict[int, int] = field(default_factory=dict)
    watched: frozenset[int] = frozenset()
    published: bool = False
    announced: bool = False
    proxy: str = ""
