"""When the writer starts its next batch; pure.

A transaction costs the database some 0.5 ms of CPU however few rows it has, so batches start about PACE_SECONDS apart:
at 1,000 messages/s four rows share one, for about 0.5 ms more until the ack. Servers share the database: with several
of them each starts its batches further apart, so that as many rows share one. A row that comes after a pause is written
at once, and many rows wait for nothing.
"""

from __future__ import annotations

EAGER_ROWS = 64
"""Waiting rows that are worth a batch at once, beside those under way."""

PACE_SECONDS = 0.004
"""Seconds between the starts of two batches of a server that is alone, unless EAGER_ROWS wait: 8 ms save another fifth
of the CPU at 1,000/s, and cost 3-6 ms until the ack."""

MOST_PACE_SECONDS = 0.016
"""The same of each of many servers: longer waits would be felt, and save little."""

PATIENCE_SECONDS = 0.005
"""Seconds after which a waiting row gets a batch beside those under way: a commit that takes longer may be stuck."""

TIMER_SECONDS = 0.0005
"""A shorter wait is none: uvloop's timers count whole milliseconds and would round it to 0, again and again."""


def pace_of(servers: int) -> float:
    """Return the seconds between the starts of two batches of each of so many servers.

    1, 2, 4, 64 -> 0.004, 0.008, 0.016, 0.016
    """
    return min(PACE_SECONDS * servers, MOST_PACE_SECONDS)


def seconds_to_wait(
    now: float, *, rows: int, oldest_at: float, started_at: float, running: bool, pace_seconds: float
) -> float:
    """Return the seconds until the next batch is due; 0: now. All times are of one monotonic clock, in seconds.

    Args:
        now: the time.
        rows: that could be written now.
        oldest_at: when the one that has waited longest was queued.
        started_at: when the last batch was started.
        running: whether a batch is under way.
        pace_seconds: as of `pace_of`.

    Example:
        One row waits; the last batch was started 1 ms ago and is done, and the pace is 4 ms -> 0.003.
    """
    if rows >= EAGER_ROWS:
        return 0.0
    due_at = started_at + pace_seconds
    if running:
        due_at = max(due_at, oldest_at + PATIENCE_SECONDS)
    wait_seconds = due_at - now
    return wait_seconds if wait_seconds >= TIMER_SECONDS else 0.0
