"""Reads WAL files with pg_waldump, for the time up to which a repository can restore."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from postgresbackup import repository

if TYPE_CHECKING:
    from collections.abc import Collection

    from postgresbackup.pgbackrest import PgBackRest
    from postgresbackup.repository import Archive

LOOK_BACK_SEGMENTS = 4
"""WAL files that are looked at for a commit: each time that PostgreSQL switches, there has been one."""

SECONDS = 60.0
"""Longest run of pg_waldump."""

TIMELINE_DIGITS = 8
"""At the beginning of the name of a WAL file."""

_STOPPED = re.compile(r"^Database cluster state: +shut down$", re.MULTILINE)
_CHECKPOINT = re.compile(r"^Latest checkpoint's REDO WAL file: +([0-9A-F]{24})$", re.MULTILINE)

_COMMIT = re.compile(r"desc: COMMIT (?:PREPARED )?.*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")


def last_commit(records: str) -> dt.datetime | None:
    """Return the latest time of a commit in WAL as pg_waldump shows it; None if there is none."""
    times = [dt.datetime.fromisoformat(f"{at}+00:00") for at in _COMMIT.findall(records)]
    return max(times, default=None)


def newest_commit(programs: PgBackRest, wal: Archive) -> dt.datetime | None:
    """Return the time of the last commit in an archive, all of which can be restored; None if none is found.

    Raises:
        PgBackRestError: The repository cannot be read.
        OSError: pg_waldump cannot be run, or there is no room for a WAL file.
    """
    with tempfile.TemporaryDirectory() as folder:
        for segment in reversed(wal.segments[-LOOK_BACK_SEGMENTS:]):
            path = Path(folder) / segment
            programs.fetch(wal, segment, path)
            found = last_commit(_records(path))
            path.unlink()
            if found is not None:
                return found
    return None


def is_archived_to_its_end(data: Path, wal: Archive) -> bool:
    """Return whether an archive has every commit of a PostgreSQL that was stopped.

    Such a one ends its last WAL file, which is then archived, and writes that it stops into the next one.

    Args:
        data: Its data folder.
        wal: The archive.

    Raises:
        OSError: pg_controldata cannot be run.
    """
    file = checkpoint_file(data)
    if file is None or wal.newest is None:
        return False
    return repository.number(wal.newest) >= repository.number(file) - 1


def checkpoint_file(data: Path) -> str | None:
    """Return the WAL file with the last checkpoint of a PostgreSQL that was stopped; None if it was not.

    Raises:
        OSError: pg_controldata cannot be run.
    """
    done = subprocess.run(
        ["pg_controldata", str(data)],
        env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    file = _CHECKPOINT.search(done.stdout)
    return file[1] if file is not None and _STOPPED.search(done.stdout) else None


def unarchived(names: Collection[str], last: str) -> list[str]:
    """Return the files of a timeline that nothing has archived, of those that a server has written without an archive.

    They are its history, and WAL files before the last one, which the next server continues.

    Args:
        names: What is in its folder of WAL.
        last: The file with its last checkpoint.
    """
    timeline = last[:TIMELINE_DIGITS]
    ended = [name for name in names if re.fullmatch(rf"{timeline}[0-9A-F]{{16}}", name) and name < last]
    return [*(name for name in names if name == f"{timeline}.history"), *sorted(ended)]


def _records(path: Path) -> str:
    # It ends with an error where a record continues in the next file.
    done = subprocess.run(
        ["pg_waldump", "--rmgr=Transaction", str(path)],
        env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.stdout
