"""Connections over time: read from a recording, or made up."""

from __future__ import annotations

import bisect
import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.errors import TraceError

if TYPE_CHECKING:
    import random

HEADER = ["seconds", "connections"]

DAY_SECONDS = 86_400
POINT_SECONDS = 60
"""Between two points of a made-up day: four ticks of the autoscaler."""

NIGHT_SHARE = 0.08
"""Of the busiest minute's connections, those that are open at four in the morning."""

NOISE_SHARE = 0.01
"""Standard deviation from one minute to the next."""

BURST_AT_SECONDS = 20 * 3600 + 1800
BURST_SECONDS = 2700
BURST_SHARE = 0.35
"""At half past eight in the evening something happens: a third more users within two minutes, for 45 minutes."""

BURST_RAMP_SECONDS = 120


@dataclass(frozen=True)
class Trace:
    """Connections over time.

    Attributes:
        seconds: Rising, the first one 0.
        connections: One for each of them.
    """

    seconds: tuple[float, ...]
    connections: tuple[int, ...]

    @property
    def duration(self) -> float:
        """Seconds from the first point to the last."""
        return self.seconds[-1]

    def at(self, seconds: float) -> int:
        """Connections at a time, on the straight line between the points around it."""
        right = bisect.bisect_right(self.seconds, seconds)
        if right == 0:
            return self.connections[0]
        if right == len(self.seconds):
            return self.connections[-1]
        before, after = self.seconds[right - 1], self.seconds[right]
        low, high = self.connections[right - 1], self.connections[right]
        return round(low + (high - low) * (seconds - before) / (after - before))


def read(text: str) -> Trace:
    """A recording: CSV with the header `seconds,connections`; the first time counts as 0.

    Raises:
        TraceError: A line is not what it should be; it names the line and the remedy.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or [cell.strip() for cell in rows[0]] != HEADER:
        raise TraceError("line 1", f"the header must be {','.join(HEADER)}")
    points: list[tuple[float, int]] = []
    for number, row in enumerate(rows[1:], start=2):
        if row:
            points.append(_point(row, f"line {number}"))
            if len(points) > 1 and points[-1][0] <= points[-2][0]:
                raise TraceError(
                    f"line {number}",
                    "its seconds are not greater than those of the line before; sort the file by seconds",
                )
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        raise TraceError("the file", "it has fewer than two lines below the header; add some")
    start = points[0][0]
    return Trace(tuple(at - start for at, _ in points), tuple(count for _, count in points))


def _point(row: list[str], where: str) -> tuple[float, int]:
    try:
        at, count = float(row[0]), int(row[1])
    except (ValueError, IndexError):
        raise TraceError(where, f"{','.join(row)!r} is not of the form seconds,connections, such as 60,12500") from None
    if not math.isfinite(at) or count < 0:
        raise TraceError(where, "seconds must be a finite number and connections at least 0")
    return at, count


def synthetic_day(peak: int, chance: random.Random) -> Trace:
    """A made-up day of 24 hours: a quiet night, a climb until noon, a busy evening, a sudden burst, and noise.

    Args:
        peak: Connections at about the busiest minute, before the burst.
        chance: Where the noise comes from; the same state makes the same day.
    """
    seconds = tuple(float(at) for at in range(0, DAY_SECONDS + 1, POINT_SECONDS))
    counts = []
    for at in seconds:
        hour = at / 3600
        # Two waves: one with its low at four in the morning, one that lifts the evening over the afternoon.
        wave = 0.5 - 0.5 * math.cos((hour - 4) / 24 * math.tau)
        evening = math.exp(-(((hour - 20) / 2.5) ** 2))
        share = NIGHT_SHARE + (1 - NIGHT_SHARE) * min(1.0, 0.75 * wave + 0.45 * evening)
        burst = 1 + BURST_SHARE * _burst(at)
        counts.append(max(0, round(peak * share * burst * chance.gauss(1, NOISE_SHARE))))
    return Trace(seconds, tuple(counts))


def _burst(at: float) -> float:
    """From 0 to 1 and back."""
    since, until = at - BURST_AT_SECONDS, BURST_AT_SECONDS + BURST_SECONDS - at
    return max(0.0, min(1.0, since / BURST_RAMP_SECONDS, until / BURST_RAMP_SECONDS))
