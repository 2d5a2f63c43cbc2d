"""Conversion between PostgreSQL's times and those of the rest of the code: microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Return a timestamptz as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(us: int) -> datetime:
    """Return microseconds since 1970 as a timestamptz; exact, so that keys survive the round trip."""
    return _EPOCH + us * _MICROSECOND


def micros_or_none(moment: datetime | None) -> int | None:
    """Return a nullable timestamptz as microseconds since 1970."""
    return None if moment is None else micros(moment)


def moment_or_none(us: int | None) -> datetime | None:
    """Return nullable microseconds since 1970 as a timestamptz."""
    return None if us is None else moment_of(us)
