"""Makes a database cluster from a repository: copies a backup, replays WAL up to a time, and makes it one of its own.

All happens in a folder beside PGDATA, which is moved into place when it is complete: a restore that fails begins again.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from postgresbackup import plan, repository, wal
from postgresbackup.logs import log
from postgresbackup.outcome import RECORD, Record, ends, now, written
from postgresbackup.pgbackrest import PgBackRest, with_signature
from postgresbackup.plan import FAILED, VOLUME_EMPTY, WAL_MISSING, CannotRestore
from postgresbackup.recovery import Recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from postgresbackup.plan import Plan, Request

MOUNTED = Path("/etc/chatcluster/restore")

ENDED_EARLY = "recovery ended before configured recovery target was reached"
"""PostgreSQL's error where the WAL has no commit after the target."""

LEFT_OVER = (
    "standby.signal",
    "recovery.signal",
    "postgresql.conf.backup",
    "patroni.dynamic.json",
    "backup_label.old",
    RECORD,
)
"""Files of the source in its folder that mean nothing here."""


def restore(environment: Mapping[str, str]) -> int:
    """Make PGDATA's new folder from the repository; returns the process's exit code: 0 if it is ready to be moved."""
    return ends("", lambda: _begin(with_signature(environment)))


def _begin(environment: Mapping[str, str]) -> Record:
    desired = plan.request(json.loads((MOUNTED / "restore.json").read_text(encoding="utf-8")))
    if not desired.may_begin:
        raise CannotRestore(
            "this chat had a database, and its volume is empty: restoring the source again would lose what came since. "
            "Restore the volume, or make a new ChatCluster from this chat's own backups",
            VOLUME_EMPTY,
        )
    new = Path(f"{environment['PGDATA']}.new")
    return make(desired, new, MOUNTED / "pgbackrest.conf", environment)


def make(
    desired: Request,
    new: Path,
    config: Path,
    environment: Mapping[str, str],
    *,
    request: str = "",
    replaces: Path | None = None,
    check: Callable[[Plan], None] = lambda _: None,
) -> Record:
    """Make a folder that PostgreSQL can start with; whatever it held before is lost.

    Args:
        desired: What to restore.
        new: The folder.
        config: pgBackRest's configuration.
        environment: For all processes.
        request: Id of the restore in place; empty for the first content of a chat.
        replaces: The data folder in the place of which it comes; None for the first content of a chat.
        check: Called before anything is copied.

    Raises:
        CannotRestore: The repository does not have that state.
        PgBackRestError: It cannot be read.
        ServerError: PostgreSQL does not answer.
        OSError: There is no room, or a program is missing.
    """
    shutil.rmtree(new, ignore_errors=True)
    programs = PgBackRest(config, environment)
    found = programs.repository()
    archive = programs.archive(found.archive_folder or "")
    reachable = repository.on_timeline_of(found, archive)
    newest = wal.newest_commit(programs, archive)
    if replaces is not None and wal.is_archived_to_its_end(replaces, archive):
        # Nothing has been committed since, so that each moment until now can be restored.
        newest = dt.datetime.now(dt.UTC)
    decided = plan.plan(desired, reachable, archive, newest)
    check(decided)
    log("info", "restoring", backup=decided.backup.label, target=str(decided.target or "latest"))
    new.mkdir(mode=0o700)
    programs.run("restore", f"--pg1-path={new}", f"--set={decided.backup.label}", "--type=none")
    for name in LEFT_OVER:
        (new / name).unlink(missing_ok=True)
    recovery = Recovery(new, {**environment, "RESTORE_CONFIG": str(config)})
    if replaces is not None:
        recovery.learn_timelines(replaces)
    made = _replay(decided, recovery)
    record = Record(
        id=request,
        target=plan.said(decided.target) if decided.target is not None else "latest",
        restored_to=made,
        ended=now(),
        backup=decided.backup.label,
    )
    written(new, record)
    return record


def _replay(decided: Plan, recovery: Recovery) -> str | None:
    """Replay WAL up to the target; returns the time of the last commit that was replayed, if there was one."""
    try:
        last = decided.newest_wal if decided.target is not None else None
        if not recovery.run(decided.target, last):
            if not (decided.may_end_with_archive and ENDED_EARLY in recovery.log()):
                raise _failure(recovery.log(), decided)
            # Nothing was committed between the last commit and the target.
            log("info", "the archive has no commit after the target", target=str(decided.target))
            if not recovery.run(None, last):
                raise _failure(recovery.log(), decided)
        timeline, ended = recovery.promoted()
        if decided.target is None and not plan.reaches(ended, decided.newest_wal):
            raise CannotRestore(
                f"WAL ended at {ended}, before file {decided.newest_wal}: it is missing or damaged", WAL_MISSING
            )
        last_commit = recovery.last_commit()
        recovery.own()
    finally:
        recovery.stop()
    recovery.hand_over()
    log("info", "restored", backup=decided.backup.label, timeline=timeline, position=ended)
    return last_commit


def _failure(output: str, decided: Plan) -> CannotRestore:
    lines = [line.partition("FATAL:")[2].strip() for line in output.splitlines() if "FATAL:" in line]
    if any(ENDED_EARLY in line for line in lines):
        return CannotRestore(
            f"restore.targetTime {decided.target} is not reached: a WAL file between it and backup "
            f"{decided.backup.label} is missing in the repository. Choose an earlier time, or one after the next "
            "backup",
            WAL_MISSING,
        )
    said = lines[-1] if lines else output[-500:].strip()
    return CannotRestore(f"PostgreSQL did not replay the WAL: {said}", FAILED)
