"""How long recipients wait: from the commit of a message until its frame is written to their connection.

A row goes to many outboxes in one turn of the event loop, and in the next turn all of them are written. So a row is
counted once, with the number of its frames, and timed behind these writes. Only outboxes that cannot be written, since
their client reads too slowly, have the time of the commit beside each frame, until they are empty again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.metrics.instruments import Histogram

NO_COMMIT: Final = 0.0
"""Of a frame that is not timed: an ack, a signal, a row of a sync."""


class _Row:
    """A row that was put into outboxes in this turn.

    Attributes:
        frame: kept, so that nothing else gets its id meanwhile.
        committed_at: of ``time.monotonic``.
        frames: outboxes that are written in the next turn.
    """

    __slots__ = ("committed_at", "frame", "frames")

    def __init__(self, frame: bytes, committed_at: float, frames: int) -> None:
        self.frame = frame
        self.committed_at = committed_at
        self.frames = frames


class PushTimes:
    """Times the frames of rows that are written.

    Args:
        seconds: gets a value for each frame.
    """

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        # Of this turn: by the id of the row's frame, which all outboxes share.
        self._rows: dict[int, _Row] = {}

    def queued(self, frame: bytes, committed_at: float, outboxes: int) -> None:
        """Record that the frame of a row was put into outboxes that are written in the next turn of the event loop.

        Args:
            frame: the same object as in the outboxes.
            committed_at: of ``time.monotonic``, or NO_COMMIT.
            outboxes: how many.
        """
        if not outboxes or committed_at == NO_COMMIT:
            return
        row = self._rows.get(id(frame))
        if row is None:
            self._rows[id(frame)] = _Row(frame, committed_at, outboxes)
        else:
            row.frames += outboxes

    def left(self, frames: Iterable[bytes]) -> list[float]:
        """Record that frames of one outbox were not written after all; returns when each was committed."""
        return [self._leave(frame) for frame in frames]

    def _leave(self, frame: bytes) -> float:
        row = self._rows.get(id(frame))
        if row is None:
            return NO_COMMIT
        row.frames -= 1
        return row.committed_at

    def written_late(self, commits: Iterable[float]) -> None:
        """Time frames that had been left and are written now.

        Args:
            commits: as ``left`` returned them.
        """
        now = time.monotonic()
        for committed_at in commits:
            if committed_at != NO_COMMIT:
                self._seconds.observe(max(0.0, now - committed_at))

    def settle(self) -> None:
        """Time the frames of the rows of the last turn, which are written by now."""
        if not self._rows:
            return
        rows, self._rows = self._rows, {}
        now = time.monotonic()
        committed_at, frames = NO_COMMIT, 0
        # Rows of a batch have one time, and follow each other.
        for row in rows.values():
            if row.committed_at != committed_at and frames:
                self._seconds.observe(max(0.0, now - committed_at), frames)
                frames = 0
            committed_at = row.committed_at
            frames += row.frames
        if frames:
            self._seconds.observe(max(0.0, now - committed_at), frames)
