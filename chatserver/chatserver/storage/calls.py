"""One call of the database: what it is for, and how long it waited and took; what its command tag says."""

from __future__ import annotations

from typing import Literal

CallKind = Literal["store", "sync", "deliver", "receipts", "other"]
"""What a call is for: storing messages, syncs, reading hinted rows, storing receipts, all else."""


class CallTimes:
    """The times of one call.

    Attributes:
        kind: what it is for.
        acquire_seconds: until it had a connection, or until it had none.
        seconds: in all.
        succeeded: whether PostgreSQL carried it out.
    """

    __slots__ = ("acquire_seconds", "kind", "seconds", "succeeded")

    def __init__(self, kind: CallKind) -> None:
        self.kind: CallKind = kind
        self.acquire_seconds = 0.0
        self.seconds = 0.0
        self.succeeded = False


def affected(tag: str) -> int:
    """Return the number of rows in a command tag: ``UPDATE 3`` -> 3."""
    return int(tag.rsplit(" ", 1)[-1])
