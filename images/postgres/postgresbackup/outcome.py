"""What became of a restore: a record in the data folder that it made, and the message with which its container ends.

Kubernetes keeps that message in the pod's status, where the operator reads it.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from postgresagent import roles
from postgresagent.server import ServerError
from postgresbackup.logs import log
from postgresbackup.pgbackrest import PgBackRestError
from postgresbackup.plan import FAILED, CannotRestore

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = "chatcluster-restored.json"
"""In the data folder. PostgreSQL ignores it, and copies of the folder have it, too."""

TERMINATION_LOG = Path("/dev/termination-log")
"""What is in it when a container ends is in the pod's status."""

TEXT_MAX = 1500
"""Characters of an error in that message; the operator keeps 2,000 of all of it."""


@dataclass(frozen=True)
class Record:
    """A restore that has ended well. Times are ISO 8601 in UTC.

    Attributes:
        id: Of the request; empty for the first content of a chat.
        target: The time that was requested, `latest`, or `undo`.
        restored_to: Time of the last commit that was replayed; None if none was.
        ended: When.
        backup: With which it began; empty where a restore was undone.
        kept: Name of the folder beside PGDATA that has the data of before; empty if there was none.
    """

    id: str
    target: str
    restored_to: str | None
    ended: str
    backup: str = ""
    kept: str = ""


def now() -> str:
    """Return the time: 2026-11-30T10:15:00Z."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def written(data: Path, record: Record) -> None:
    """Write the record into a data folder, whole or not at all.

    Raises:
        OSError: The volume is full or cannot be written.
    """
    new = data / f"{RECORD}.new"
    new.write_text(json.dumps(asdict(record)), encoding="utf-8")
    new.rename(data / RECORD)


def found(data: Path) -> Record | None:
    """Return the record in a data folder; None if nothing was restored there, or what is there is none."""
    try:
        return Record(**json.loads((data / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def ends(request: str, work: Callable[[], Record | None]) -> int:
    """Run a restore to its end; returns the exit code of the process.

    Args:
        request: Id of the request; empty for the first content of a chat.
        work: The restore; it returns None where there was nothing to do.
    """
    try:
        record = work()
    except CannotRestore as error:
        return _failed(request, error.code, str(error))
    except PgBackRestError as error:
        return _failed(request, error.problem.code, f"the repository of the backup: {error.problem.code}: {error}")
    except (ServerError, roles.SecretIncomplete, OSError, ValueError, subprocess.SubprocessError) as error:
        return _failed(request, FAILED, f"the restore failed and begins again: {error}")
    if record is not None:
        says(record)
    return 0


def says(record: Record) -> None:
    """Leave the record for the pod's status."""
    _leave({"restored": asdict(record)})


def _failed(request: str, code: str, text: str) -> int:
    log("error", "not restored", code=code, error=text)
    _leave({"failed": {"id": request, "code": code, "text": text[:TEXT_MAX]}})
    return 1


def _leave(message: dict[str, object]) -> None:
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(json.dumps(message, ensure_ascii=False), encoding="utf-8")
