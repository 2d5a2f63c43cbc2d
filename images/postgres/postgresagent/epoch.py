"""Decides whether a new leader had all that the old one did, so that clients' cursors stay valid. Pure.

Cursors are snapshots. A replica may give the ids of transactions that it never received to others, so the epoch of
cursors changes with the timeline, except where the replica has received all there was (docs/decisions/0073).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_RECORD = re.compile(r"^rmgr: .* desc: (\S+)", re.MULTILINE)

CLEAN = "CHECKPOINT_SHUTDOWN"
"""The record with which a PostgreSQL that is stopped ends its WAL, after all transactions."""


class Switch(NamedTuple):
    """Where a timeline left the one before it: that one's number, and the position, as PostgreSQL writes it."""

    timeline: int
    position: str


def switch(history: str) -> Switch | None:
    """Return the last switch in a timeline's history file, whose lines are `1<TAB>0/3000000<TAB>reason`."""
    lines = [line.split("\t") for line in history.splitlines() if re.match(r"\d+\t", line)]
    return Switch(int(lines[-1][0]), lines[-1][1]) if lines else None


def is_whole(records: str) -> bool:
    """Return whether WAL ends with a shutdown, by its last records as pg_waldump shows them.

    The recovery from a crash ends with such a record too, and then another one follows at once: that proves nothing.
    """
    kinds = _RECORD.findall(records)
    return kinds[-1:] == [CLEAN] and kinds[-2:-1] != [CLEAN]


SEGMENT_BYTES = 16 * 1024**2
"""Of a WAL file: initdb's default, which the image keeps."""


def segment(timeline: int, position: str) -> str:
    """Return the name of the WAL file that has a position: (1, "0/1CE1638") -> "000000010000000000000001"."""
    number = _bytes(position) // SEGMENT_BYTES
    segments_of_4_gib = 2**32 // SEGMENT_BYTES
    return f"{timeline:08X}{number // segments_of_4_gib:08X}{number % segments_of_4_gib:08X}"


def before(position: str, count: int) -> str:
    """Return the position some bytes before another: ("0/3000000", 4096) -> "0/2FFF000"."""
    found = max(_bytes(position) - count, 0)
    return f"{found >> 32:X}/{found & 0xFFFFFFFF:X}"


def _bytes(position: str) -> int:
    high, _, low = position.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def hexadecimal(timeline: int) -> str:
    """Return a timeline as the names of WAL files begin, and as chat_epoch() has it: 2 -> "00000002"."""
    return f"{timeline:08X}"


HAS_ENTRY = """SELECT to_json(EXISTS (SELECT FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = 'meta' AND column_name = 'epoch_timeline'));"""
"""Whether the chat's schema is there; a database is made before it."""


def statement(timeline: int, parent: int | None) -> str:
    """Return the statement that says whose epoch a timeline has: that of its parent, or its own, if `parent` is None.

    Until it has run, servers do not answer with an epoch. What was said of a timeline before stays.
    """
    new, old = hexadecimal(timeline), hexadecimal(timeline if parent is None else parent)
    return (
        f"UPDATE public.meta SET timeline = '{new}', epoch_timeline = "  # noqa: S608 - digits
        f"CASE WHEN timeline = '{old}' THEN epoch_timeline ELSE '{old}' END WHERE timeline IS DISTINCT FROM '{new}'"
    )
