"""CPU and memory of processes, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS = os.sysconf("SC_CLK_TCK")
"""Clock ticks per second in /proc."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds of processes, including their exited children."""
    # Callers list parents first, and they are read last: a child that exits meanwhile is then in its parent's sum.
    return sum(map(_cpu_seconds, reversed(list(pids))))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        # It exited before it was opened, or after.
        return 0.0
    # Its own time and that of exited children: backends start and exit.
    return sum(map(int, fields[11:15])) / TICKS


def resident_kib(pids: Iterable[int]) -> int:
    """Return the memory of processes in KiB."""
    return sum(int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) for pid in pids)
