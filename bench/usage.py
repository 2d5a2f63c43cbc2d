"""What processes use, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS = os.sysconf("SC_CLK_TCK")
"""A second, in /proc."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """Seconds of processor that processes have used, with their children that have ended."""
    # Parents come first in what callers list, and are read last: one that ends meanwhile is then in its parent's sum.
    return sum(map(_cpu_seconds, reversed(list(pids))))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        # Gone before it was opened, or after.
        return 0.0
    # Its own, and of its children that ended: backends come and go.
    return sum(map(int, fields[11:15])) / TICKS


def resident_kib(pids: Iterable[int]) -> int:
    """KiB of memory that processes hold."""
    return sum(int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) for pid in pids)
