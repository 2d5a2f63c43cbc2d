"""Translates PostgreSQL's errors by their SQLSTATE."""

from __future__ import annotations

from typing import Final

from chatserver.errors import ServiceUnavailable

UNKNOWN: Final = "XX000"
"""The SQLSTATE of an internal error."""


class Contended(ServiceUnavailable):
    """Another transaction held a lock for too long, PostgreSQL broke a deadlock, or its queue of notifications is full.

    Nothing is committed, and a retry can succeed.
    """


class VolumeFull(ServiceUnavailable):
    """PostgreSQL's volume is full: reads still work."""


class StatementFailed(Exception):
    """PostgreSQL rejected a statement because of its content, not because of PostgreSQL's state.

    Attributes:
        sqlstate: the five characters of the SQL standard, such as 23505 for a unique violation.
        constraint: the name of the violated constraint, if any.
    """

    def __init__(self, sqlstate: str, constraint: str | None) -> None:
        self.sqlstate = sqlstate
        self.constraint = constraint
        # Without PostgreSQL's text: it quotes values, which may be message text.
        super().__init__(f"SQLSTATE {sqlstate}" + (f" ({constraint})" if constraint else ""))


_CONTENDED: Final = (
    "40",  # a deadlock, or a serialisation failure
    "55P03",  # a lock is held for too long
    "54000",  # the queue of notifications is full: nothing else here can exceed a limit
)

_UNAVAILABLE_CLASSES: Final = (
    "08",  # connection exceptions
    "53",  # out of disk, memory or connections
    "57",  # shut down, starting, cancelled
    "58",  # errors of the operating system
    "25",  # read-only: this is a standby, or a full disk made it so
    "55",  # in use, or not in the needed state
    "28",  # password just being rotated
    "3D",  # the database does not exist yet
    "F0",  # configuration file error
    "XX",  # internal error
)


def error_of(sqlstate: str, constraint: str | None) -> ServiceUnavailable | StatementFailed:
    """Return the project's error for an error of PostgreSQL.

    Args:
        sqlstate: five characters.
        constraint: the name of the violated constraint, if any.

    Example:
        40001, a serialisation failure, is `Contended`; 53100, a full disk, `VolumeFull`; 23505 `StatementFailed`.
    """
    if sqlstate.startswith(_CONTENDED):
        return Contended()
    if sqlstate == "53100":
        return VolumeFull()
    if sqlstate.startswith(_UNAVAILABLE_CLASSES):
        return ServiceUnavailable()
    return StatementFailed(sqlstate, constraint)
