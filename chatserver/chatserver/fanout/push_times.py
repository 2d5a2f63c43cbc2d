"""How long recipients wait: from the commit of a message until its frame is written to their connection.

Each frame of a row carries the time of its commit through the outbox. The frames of a turn of the event loop have few
different ones, so that they are counted by it before they are observed.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.metrics.instruments import Histogram

NO_COMMIT: Final = 0.0
"""Of a frame that is not timed: an ack, a signal, a row of a sync."""


class PushTimes:
    """Times the frames that are written.

    Args:
        seconds: gets a value for each frame.
    """

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        self._written: list[float] = []

    def written(self, commits: Iterable[float]) -> None:
        """Record frames that were written in this turn of the event loop.

        Args:
            commits: of ``time.monotonic``, or NO_COMMIT: when what each contains was committed.
        """
        self._written += commits

    def settle(self) -> None:
        """Observe the frames that were written since the last time."""
        if not self._written:
            return
        written, self._written = self._written, []
        now = time.monotonic()
        for commit, frames in Counter(written).items():
            if commit != NO_COMMIT:
                self._seconds.observe(max(0.0, now - commit), frames)
