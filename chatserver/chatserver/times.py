"""Times as clients see them."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

MICROSECONDS = 1_000_000
DAY_SECONDS = 86_400


@functools.lru_cache(maxsize=1024)
def rfc3339(micros: int) -> str:
    """Return microseconds since 1970 as RFC 3339 in UTC.

    Example:
        >>> rfc3339(1_700_000_000_000_000)
        '2023-11-14T22:13:20.000000Z'
    """
    # Remembered: all rows of a batch have one time, which is in the ack and in the frame of each.
    seconds, fraction = divmod(micros, MICROSECONDS)
    return f"{_second(seconds)}.{fraction:06}Z"


@functools.lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    # Most of what is rendered happened within the last second.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339_or_none(micros: int | None) -> str | None:
    """Return a time as `rfc3339` does; None when there is none."""
    return None if micros is None else rfc3339(micros)
