"""Decides what a restore begins with, and whether it can reach its target. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postgresagent import epoch
from postgresbackup import repository

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postgresbackup.repository import Archive, Backup, Repository


OUTSIDE_WINDOW, NO_BACKUP, WAL_MISSING = "outside_window", "no_backup", "wal_missing"
VOLUME_EMPTY, NO_ROOM, NOTHING_KEPT, FAILED = "volume_empty", "no_room", "nothing_kept", "failed"
"""Words for programs: why a restore did not succeed, beside those of problems.Code."""


class CannotRestore(Exception):
    """There is no such state in the repository; the text says which there are.

    Attributes:
        code: One word for programs.
    """

    def __init__(self, text: str, code: str = OUTSIDE_WINDOW) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Request:
    """restore.json, which the operator renders.

    Attributes:
        target: The time to restore to; None for the latest state.
        may_begin: Whether this chat never had a database. Otherwise nothing is restored over a loss.
    """

    target: dt.datetime | None
    may_begin: bool


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        backup: With which to begin.
        target: As in Request.
        newest_wal: The last WAL file of which the restore has to know.
        may_end_with_archive: Whether all WAL there is may end before the target: the last commit before
            the target is then the last one of all.
    """

    backup: Backup
    target: dt.datetime | None
    newest_wal: str | None
    may_end_with_archive: bool


def request(data: Mapping[str, Any]) -> Request:
    """Return the request in restore.json.

    Raises:
        CannotRestore: A field is wrong.
    """
    text = data.get("target_time") or ""
    try:
        target = dt.datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise CannotRestore(f"restore.targetTime {text!r} is no time such as 2026-11-30T10:15:00Z") from error
    if target is not None and target.tzinfo is None:
        raise CannotRestore(f"restore.targetTime {text!r} has no time zone: end it with Z for UTC")
    return Request(target, bool(data.get("begin")))


def plan(desired: Request, found: Repository, wal: Archive, newest_commit: dt.datetime | None) -> Plan:
    """Return the plan of a restore.

    Args:
        desired: restore.json.
        found: What is in the repository.
        wal: Its WAL.
        newest_commit: Time of the last commit in it; None if it is not known.

    Raises:
        CannotRestore: The repository does not have that state.
    """
    newest = repository.newest_restorable(found, newest_commit)
    if newest is None:
        raise CannotRestore("the repository has no backup: nothing can be restored from it", NO_BACKUP)
    target = desired.target
    if target is None:
        backup = found.backups[-1]
        if missing := repository.gaps(wal, backup.first_wal):
            raise CannotRestore(
                f"WAL file {missing[0]} is missing in the repository, so that the latest state cannot be restored: "
                f"set restore.targetTime to a time before it was written; {_window(found, newest)}",
                WAL_MISSING,
            )
        return Plan(backup, None, wal.newest, may_end_with_archive=True)
    # pgBackRest's times are whole seconds: a backup may have ended within that second.
    earlier = [one for one in found.backups if one.stopped < target]
    if not earlier or target > newest:
        word = "late" if earlier else "early"
        raise CannotRestore(f"restore.targetTime {said(target)} is too {word}; {_window(found, newest)}")
    backup = earlier[-1]
    return Plan(backup, target, wal.newest, may_end_with_archive=not repository.gaps(wal, backup.first_wal))


def check_room(backup: Backup, free_bytes: int, reserve_bytes: int) -> None:
    """Check that a backup fits on the volume beside what is there.

    Args:
        backup: That is restored.
        free_bytes: Of the volume.
        reserve_bytes: That must stay free, so that PostgreSQL accepts writes.

    Raises:
        CannotRestore: It does not.
    """
    needed = backup.bytes + reserve_bytes
    if needed > free_bytes:
        raise CannotRestore(
            f"the backup needs {mebibytes(needed)} MiB beside the present data, and the volume has "
            f"{mebibytes(free_bytes)} MiB free: raise database.storage.size, delete what earlier restores have kept, "
            "or restore into a new ChatCluster",
            NO_ROOM,
        )


def mebibytes(count: int) -> int:
    """Return a number of bytes in whole MiB."""
    return count // 2**20


def reaches(position: str, newest_wal: str | None) -> bool:
    """Return whether a recovery that ended at a position has replayed a WAL file to its end.

    Args:
        position: As PostgreSQL writes it, such as `0/3000000`.
        newest_wal: Name of the file; None if there was none.
    """
    ended = epoch.segment(1, position)
    return newest_wal is None or repository.number(ended) >= repository.number(newest_wal)


def said(time: dt.datetime) -> str:
    """Return a time as it can be used in restore.targetTime: `2026-11-30T10:15:00Z`."""
    return time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _window(found: Repository, newest: dt.datetime) -> str:
    oldest = found.backups[0].stopped + dt.timedelta(seconds=1)
    if newest < oldest:
        return "the repository can restore its latest state only: leave restore.targetTime out"
    times = f"from {said(oldest)} to {said(newest)}"
    return f"the repository can restore to times {times}, and without restore.targetTime to its latest state"
