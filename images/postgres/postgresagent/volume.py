"""Decides when the volume counts as full, which is before it is. Pure, except for `look`.

A PostgreSQL whose volume has no free page cannot write a checkpoint and exits. So writes are rejected while there is
still room for PostgreSQL's own files; reads continue.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_PART = 0.02
RESERVE_BYTES_MIN, RESERVE_BYTES_MAX = 32 * 1024**2, 1024**3
"""The reserve that must be free: a fiftieth of the volume. A fast disk fills that of a 10 GiB volume in a second or
two, and the agent checks every second."""

ROOM_FACTOR = 1.5
"""Writes are accepted again when so many times the reserve is free, so that the state does not flap."""

REFUSING = """\
# The volume is nearly full (postgresagent.volume).
default_transaction_read_only = on
chatcluster.volume_full = on
"""
"""Lines of postgresql.conf. By the second one chatservers distinguish this from a standby, which serves nobody."""


@dataclass(frozen=True)
class Space:
    """Bytes of a file system: its size, and how much may still be written."""

    size: int
    free: int


def look(path: Path) -> Space:
    """Return the space of the file system of a path.

    Raises:
        OSError: There is none.
    """
    found = os.statvfs(path)
    return Space(size=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)


def reserve(space: Space) -> int:
    """Return the bytes that must stay free: 10 GiB -> 205 MiB."""
    return int(max(RESERVE_BYTES_MIN, min(space.size * RESERVE_PART, RESERVE_BYTES_MAX)))


def is_full(space: Space, *, was_full: bool) -> bool:
    """Return whether writes must be rejected: 10 GiB with 200 MiB free -> True; with 250 MiB -> unchanged."""
    return space.free < reserve(space) * (ROOM_FACTOR if was_full else 1)
