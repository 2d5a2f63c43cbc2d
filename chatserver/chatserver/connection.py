"""One connection's place in the hub: a bounded outbox that its writer empties, and what it has yet to hear."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from chatserver.protocol import CLOSE_PACE

# A reader this far behind is not reading: at 100 messages a second it is 20 s late, and a sync serves it better.
MAX_OUTBOX_FRAMES = 2048
# Memory one slow reader may hold; 10,000 of them at once would hold 10 GB, so readers who are merely slow must be rare.
MAX_OUTBOX_BYTES = 1024 * 1024
# A single frame may be larger than what one write should copy; frames are joined up to this many bytes a write.
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
    """Frames waiting for one connection's writer; refuses more than its bounds.

    Args:
        max_frames: frames that may wait.
        max_bytes: bytes that may wait.
    """

    def __init__(self, max_frames: int = MAX_OUTBOX_FRAMES, max_bytes: int = MAX_OUTBOX_BYTES) -> None:
        self.order: CloseOrder | None = None
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes) -> bool:
        """Queue a frame; False when the connection is closing or was just found too slow."""
        if self.order is not None:
            return False
        if len(self._frames) >= self._max_frames or self._bytes + len(frame) > self._max_bytes:
            self.close(CLOSE_PACE, "too slow", flush=False)
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._bytes * 2 > self._max_bytes or len(self._frames) * 2 > self._max_frames:
            self._room.clear()
        self._ready.set()
        return True

    def close(self, code: int, reason: str, *, flush: bool = True) -> None:
        """Order the writer to close the connection; the first order holds."""
        if self.order is not None:
            return
        self.order = CloseOrder(code, reason, flush)
        if not flush:
            self._frames.clear()
            self._bytes = 0
        self._ready.set()
        self._room.set()

    async def room(self) -> None:
        """Wait until the outbox is less than half full, for producers that can wait (a sync)."""
        await self._room.wait()

    async def take(self) -> list[bytes]:
        """Wait for frames and return some, at most WRITE_BYTES (but one at least); empty: time to close."""
        await self._ready.wait()
        taken: list[bytes] = []
        size = 0
        while self._frames and (not taken or size + len(self._frames[0]) <= WRITE_BYTES):
            frame = self._frames.popleft()
            size += len(frame)
            taken.append(frame)
        self._bytes -= size
        if not self._frames and self.order is None:
            self._ready.clear()
        if self._bytes * 2 <= self._max_bytes and len(self._frames) * 2 <= self._max_frames:
            self._room.set()
        return taken


@dataclass(eq=False, slots=True)
class Connection:
    """One WebSocket.

    Attributes:
        conn_id: name of the connection in ``welcome`` and the logs.
        own_ids: client ids of this connection's sends whose rows have not come by: it gets their ack, not the rows.
        held: rows that came during a sync, by chat; None when no sync runs.
        watched: users whose presence it is told.
        published: the other servers were told of it.
        announced: this server has heard that, too: what it hears of the same device from here on is newer.
    """

    conn_id: str
    user_id: int
    device_id: int
    outbox: Outbox = field(default_factory=Outbox)
    own_ids: set[str] = field(default_factory=set)
    held: dict[int, list[tuple[int, bytes]]] | None = None
    watched: frozenset[int] = frozenset()
    published: bool = False
    announced: bool = False


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
