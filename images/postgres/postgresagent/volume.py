"""When the volume counts as full: before it is. Pure, but for the look at it.

A PostgreSQL whose volume has not a page left cannot write a checkpoint and ends. So writes are refused while there is
still room for all that it needs by itself; what only reads goes on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_PART = 0.02
RESERVE_BYTES_MIN, RESERVE_BYTES_MAX = 32 * 1024**2, 1024**3
"""What has to be free: a fiftieth of the volume. A fast disk fills that of a 10 GiB volume in a second or two, and the
agent looks every second."""

ROOM_FACTOR = 1.5
"""There is room again when so many times the reserve is free: a volume at the edge does not flap."""

REFUSING = """\
# The volume is nearly full (postgresagent.volume).
default_transaction_read_only = on
chatcluster.volume_full = on
"""
"""Lines of postgresql.conf. The second is for the chatservers: it tells this from a standby, which serves nobody."""


@dataclass(frozen=True)
class Space:
    """Bytes of a file system: in all, and what may still be written."""

    size: int
    free: int


def look(path: Path) -> Space:
    """The file system that holds a path.

    Raises:
        OSError: There is none.
    """
    found = os.statvfs(path)
    return Space(size=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)


def is_full(space: Space, *, was_full: bool) -> bool:
    """Whether writes are to be refused: 10 GiB with 200 MiB free -> True; with 250 MiB -> as it was."""
    reserve = max(RESERVE_BYTES_MIN, min(space.size * RESERVE_PART, RESERVE_BYTES_MAX))
    return space.free < (reserve * ROOM_FACTOR if was_full else reserve)
