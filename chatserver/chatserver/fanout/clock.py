"""The database's clock on this server's: when what another server stored was committed. No I/O.

Each probe of the listening connection reads the database's clock. Its answer is as exact as it was quick: the clock
showed it between sending and receiving. The quickest of the last few probes counts.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from chatserver.times import MICROSECONDS

PROBES: Final = 8
"""Probes of which the quickest counts: of the last 16 s, in which no clock drifts by a tenth of a millisecond."""


class DatabaseClock:
    """Converts times of the database into those of this process's monotonic clock.

    Example:
        >>> clock = DatabaseClock()
        >>> clock.probed(1_000.5, sent_at=7.0, received_at=7.5)
        >>> clock.probed(1_001.0, sent_at=8.0, received_at=8.1)
        >>> clock.monotonic(1_001_950_000)
        9.0
    """

    def __init__(self) -> None:
        # Of each probe: how long it took, and the database's time when the monotonic clock showed 0.
        self._probes: deque[tuple[float, float]] = deque(maxlen=PROBES)
        self._origin: float | None = None

    def probed(self, database_seconds: float, *, sent_at: float, received_at: float) -> None:
        """Take what the database's clock showed.

        Args:
            database_seconds: Unix seconds of the database.
            sent_at: when the probe was sent, of ``time.monotonic``.
            received_at: when it was answered.
        """
        self._probes.append((received_at - sent_at, database_seconds - (sent_at + received_at) / 2))
        self._origin = min(self._probes)[1]

    def forget(self) -> None:
        """Forget the probes: another database may answer from now on."""
        self._probes.clear()

    def monotonic(self, database_us: int) -> float | None:
        """Return when the database's clock showed a time, of ``time.monotonic``; None before the first probe.

        Args:
            database_us: Unix microseconds of the database.
        """
        return None if self._origin is None else database_us / MICROSECONDS - self._origin

    def ahead_seconds(self, *, wall: float, monotonic: float) -> float:
        """Return by how much the database's clock is ahead of this server's; 0 before the first probe.

        Args:
            wall: of ``time.time``, now.
            monotonic: of ``time.monotonic``, now.
        """
        return 0.0 if self._origin is None else self._origin + monotonic - wall
