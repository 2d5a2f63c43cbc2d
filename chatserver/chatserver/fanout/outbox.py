"""The bounded queue of frames that wait to be written to one connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatserver.closing import TOO_SLOW
from chatserver.fanout.push_times import NO_COMMIT
from chatserver.protocol import CLOSE_PACE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_OUTBOX_FRAMES = 2048
"""A client this far behind does not read: at 100 messages a second it is 20 s late, and a sync serves it better."""

MAX_OUTBOX_BYTES = 1024 * 1024
"""Memory that one slow client may use; 10,000 of them at once would use 10 GB, so they must be rare."""

WRITE_BYTES = 32 * 1024
"""Bytes of one write; after each, the transport says whether the peer still reads."""


@dataclass(frozen=True, slots=True)
class CloseOrder:
    """How a connection is to be closed.

    Attributes:
        flush: write what is queued first; False for a client that does not read.
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
        order: how the connection is to be closed; None while it stays open.
        late: of a client that is behind, when what is in each waiting frame was committed (of ``time.monotonic``, or
            NO_COMMIT); None: what waits is written in the next turn of the event loop.
        taken_late: the same of the frames taken last.
        waiting_bytes: of the frames that wait.
        dropped: frames that a close without flushing has dropped.
    """

    __slots__ = (
        "_frames",
        "_max_bytes",
        "_max_frames",
        "_room",
        "_wake",
        "dropped",
        "late",
        "order",
        "taken_late",
        "waiting_bytes",
    )

    def __init__(self, max_frames: int = MAX_OUTBOX_FRAMES, max_bytes: int = MAX_OUTBOX_BYTES) -> None:
        self.order: CloseOrder | None = None
        self.late: list[float] | None = None
        self.taken_late: list[float] | None = None
        self.dropped: list[bytes] = []
        self._frames: list[bytes] = []
        self.waiting_bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._room: asyncio.Event | None = None
        self._wake: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def attach(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when a frame arrives in the empty outbox, and when the connection is to be closed."""
        self._wake = wake
        if self._frames or self.order is not None:
            wake()

    def put(self, frame: bytes, committed_at: float = NO_COMMIT) -> bool:
        """Queue a frame; returns False when the connection is closing, or is closed now because it is too slow.

        Args:
            frame: what to write.
            committed_at: of ``time.monotonic``, for a row, if the client is behind.
        """
        if self.order is not None:
            return False
        if len(self._frames) >= self._max_frames or self.waiting_bytes + len(frame) > self._max_bytes:
            self.close(CLOSE_PACE, TOO_SLOW, flush=False)
            return False
        self._frames.append(frame)
        if self.late is not None:
            self.late.append(committed_at)
        self.waiting_bytes += len(frame)
        if len(self._frames) == 1 and self._wake is not None:
            self._wake()
        return True

    def close(self, code: int, reason: str, *, flush: bool = True) -> None:
        """Have the connection closed after what waits is written; the first order holds."""
        if self.order is not None:
            return
        self.order = CloseOrder(code, reason, flush)
        if not flush:
            self.dropped, self._frames, self.waiting_bytes = self._frames, [], 0
            self.late = None
        if self._wake is not None:
            self._wake()
        self._make_room()

    def waiting(self) -> Sequence[bytes]:
        """Return the frames that wait."""
        return self._frames

    async def room(self) -> None:
        """Wait until the outbox is less than half full, for producers that can wait (a sync)."""
        while self._is_half_full() and self.order is None:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def take(self) -> list[bytes]:
        """Return the first frames, at least one and at most WRITE_BYTES; empty when nothing waits."""
        if self.waiting_bytes <= WRITE_BYTES:
            taken, self._frames, self.waiting_bytes = self._frames, [], 0
            self.taken_late, self.late = self.late, None
        else:
            size = count = 0
            for frame in self._frames:
                if count and size + len(frame) > WRITE_BYTES:
                    break
                size += len(frame)
                count += 1
            taken, self._frames = self._frames[:count], self._frames[count:]
            if self.late is not None:
                self.taken_late, self.late = self.late[:count], self.late[count:]
            self.waiting_bytes -= size
        if self._room is not None and not self._is_half_full():
            self._make_room()
        return taken

    def _is_half_full(self) -> bool:
        return self.waiting_bytes * 2 > self._max_bytes or len(self._frames) * 2 > self._max_frames

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
