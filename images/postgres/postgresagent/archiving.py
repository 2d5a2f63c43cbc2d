"""The state of archiving, by files of PostgreSQL and of the archive command: also while PostgreSQL does not run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

READY = ".ready"
"""End of the name of the mark for a WAL file that waits."""

FAILED = "archive-failed"
"""The file with the archive command's last error, beside the server's socket; it is not there after a success."""

ERROR_MAX = 300
"""Characters of an error that are shown."""

_ON = re.compile(r"^\s*archive_mode\s*=?\s*'?(?:on|always|true|yes|1)\b", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Archiving:
    """WAL that is not archived yet.

    Attributes:
        failing: Whether the last try failed.
        waiting: WAL files of 16 MiB that wait, and stay on the volume until they are archived.
        lag_seconds: Since when the oldest of them has waited; 0 if none does.
        error: Of the last try, in one line; empty if it succeeded.
    """

    failing: bool
    waiting: int
    lag_seconds: float
    error: str


def is_on(configuration: str) -> bool:
    """Return whether a configuration, as the operator renders it, has WAL archived."""
    return _ON.search(configuration) is not None


def archiving(marked_at: Iterable[float], now: float, failed: str | None) -> Archiving:
    """Return the state of archiving: ([100.0, 130.0], 160.0, None) -> 2 files wait, 60 seconds.

    Args:
        marked_at: Unix times of the marks.
        now: Unix time.
        failed: What the archive command printed if its last try failed; None otherwise.
    """
    times = list(marked_at)
    lag = max(now - min(times), 0.0) if times else 0.0
    return Archiving(failed is not None, len(times), lag, " ".join((failed or "").split())[:ERROR_MAX])


def look(data: Path, sockets: Path, now: float) -> Archiving | None:
    """Return the state of archiving; None where there is no database cluster.

    Args:
        data: PGDATA.
        sockets: Folder of the server's socket.
        now: Unix time.

    Raises:
        OSError: It cannot be read.
    """
    folder, failed = data / "pg_wal" / "archive_status", sockets / FAILED
    if not folder.is_dir():
        return None
    said = failed.read_text(encoding="utf-8", errors="replace") if failed.is_file() else None
    return archiving(_marks(folder), now, said)


def _marks(folder: Path) -> Iterator[float]:
    for path in folder.iterdir():
        if path.name.endswith(READY):
            try:
                yield path.stat().st_mtime
            except FileNotFoundError:
                # It has been archived just now.
                continue
