"""Makes a database cluster from a repository: copies a backup, replays WAL up to a time, and makes it one of its own.

All happens in a folder beside PGDATA, which the entrypoint moves into place: a restore that fails begins again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from postgresagent import epoch, roles
from postgresagent.server import Server, ServerError
from postgresbackup import plan, wal
from postgresbackup.logs import log
from postgresbackup.pgbackrest import PgBackRest, PgBackRestError
from postgresbackup.plan import CannotRestore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postgresbackup.plan import Plan

MOUNTED = Path("/etc/chatcluster/restore")

SECRET = Path("/etc/chatcluster/database")

SOCKETS = Path("/tmp/sockets")  # noqa: S108 - a volume of this pod alone

TERMINATION_LOG = Path("/dev/termination-log")
"""What is in it when a container ends is in the pod's status."""

TIMELINE_DIGITS = 8
"""At the beginning of the name of a WAL file."""

START_SECONDS = 1.0
"""Between looks at a server that replays."""

ENDED_EARLY = "recovery ended before configured recovery target was reached"
"""PostgreSQL's error where the WAL has no commit after the target."""

LEFT_OVER = ("standby.signal", "recovery.signal", "postgresql.conf.backup", "patroni.dynamic.json", "backup_label.old")
"""Files of the source in its folder that mean nothing here."""


def restore(environment: Mapping[str, str]) -> int:
    """Make PGDATA's new folder from the repository; returns the process's exit code: 0 if it is ready to be moved."""
    try:
        _restore(environment)
    except CannotRestore as error:
        return _failed(str(error))
    except PgBackRestError as error:
        return _failed(f"the repository of the backup: {error.problem.code}: {error}")
    except (ServerError, roles.SecretIncomplete, OSError, ValueError, subprocess.SubprocessError) as error:
        return _failed(f"the restore failed and begins again: {error}")
    return 0


def _failed(text: str) -> int:
    log("error", "not restored", error=text)
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(text, encoding="utf-8")
    return 1


def _restore(environment: Mapping[str, str]) -> None:
    desired = plan.request(json.loads((MOUNTED / "restore.json").read_text(encoding="utf-8")))
    if not desired.may_begin:
        raise CannotRestore(
            "this chat had a database, and its volume is empty: restoring the source again would lose what came since. "
            "Restore the volume, or make a new ChatCluster from this chat's own backups"
        )
    new = Path(f"{environment['PGDATA']}.new")
    shutil.rmtree(new, ignore_errors=True)
    programs = PgBackRest(MOUNTED / "pgbackrest.conf", environment)
    found = programs.repository()
    archive = programs.archive(found.archive_folder or "")
    decided = plan.plan(desired, found, archive, wal.newest_commit(programs, archive))
    log("info", "restoring", backup=decided.backup.label, target=str(decided.target or "latest"))
    new.mkdir(mode=0o700)
    programs.run("restore", f"--pg1-path={new}", f"--set={decided.backup.label}", "--type=none")
    for name in LEFT_OVER:
        (new / name).unlink(missing_ok=True)
    _replay(decided, new, environment)


def _replay(decided: Plan, new: Path, environment: Mapping[str, str]) -> None:
    (new / "recovery.signal").touch()
    recovery = Recovery(new, environment)
    try:
        last = decided.newest_wal if decided.target is not None else None
        if not recovery.run(decided.target, last):
            if not (decided.may_end_with_archive and ENDED_EARLY in recovery.log()):
                raise CannotRestore(_reason(recovery.log(), decided))
            # Nothing was committed between the last commit and the target.
            log("info", "the archive has no commit after the target", target=str(decided.target))
            if not recovery.run(None, last):
                raise CannotRestore(_reason(recovery.log(), decided))
        timeline, ended = recovery.promoted()
        if decided.target is None and not plan.reaches(ended, decided.newest_wal):
            raise CannotRestore(f"WAL ended at {ended}, before file {decided.newest_wal}: it is missing or damaged")
        _own(environment)
    finally:
        recovery.stop()
    log("info", "restored", backup=decided.backup.label, timeline=timeline, position=ended)


def _reason(output: str, decided: Plan) -> str:
    lines = [line.partition("FATAL:")[2].strip() for line in output.splitlines() if "FATAL:" in line]
    if any(ENDED_EARLY in line for line in lines):
        return (
            f"restore.targetTime {decided.target} is not reached: a WAL file between it and backup "
            f"{decided.backup.label} is missing in the repository. Choose an earlier time, or one after the next backup"
        )
    return f"PostgreSQL did not replay the WAL: {lines[-1] if lines else output[-500:].strip()}"


def _own(environment: Mapping[str, str]) -> None:
    """Make the database cluster this chat's own: clients sync afresh, and its passwords are the only ones."""
    database = roles.desired(SECRET).database
    chat = Server({**environment, "PGHOST": str(SOCKETS), "PGUSER": "postgres", "PGDATABASE": database})
    owner = chat.query(META_OWNER)
    if owner is not None:
        # As the owner, whose triggers must not run with the rights of a superuser.
        chat.run([f"SET ROLE {owner}", NEW_EPOCH])
    done = subprocess.run(
        ["python3", "-m", "postgresagent", "prepare"],
        env={**environment, "PGHOST": str(SOCKETS)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ServerError(done.stderr.strip())


META_OWNER = """SELECT to_json((SELECT quote_ident(tableowner) FROM pg_tables
    WHERE schemaname = 'public' AND tablename = 'meta'))"""

NEW_EPOCH = "UPDATE public.meta SET epoch = pg_catalog.gen_random_uuid()::text"
"""The source may get the same timeline one day, and nothing else distinguishes both (docs/decisions/0073)."""


class Recovery:
    """A server that only this container can reach, and which replays WAL before it is promoted.

    Args:
        data: Its folder.
        environment: For its processes.
    """

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self._data = data
        self._environment = environment
        self._output = Path("/tmp/recovery.log")  # noqa: S108 - a volume of this pod alone
        self._process: subprocess.Popen[bytes] | None = None
        self.server = Server({**environment, "PGHOST": str(SOCKETS), "PGUSER": "postgres", "PGDATABASE": "postgres"})

    def run(self, target: object, last_wal: str | None) -> bool:
        """Start it, and wait until it is promoted; returns False if it ended instead, as `log` says.

        Args:
            target: The time up to which to replay; None for all WAL.
            last_wal: The last WAL file that is replayed; None for whichever there are.
        """
        self.stop()
        SOCKETS.mkdir(exist_ok=True)
        aim = {"recovery_target_time": str(target)} if target is not None else {}
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(SOCKETS),
            "hba_file": "/opt/postgres/pg_hba.conf",
            "ident_file": "/opt/postgres/pg_ident.conf",
            "archive_mode": "off",
            "synchronous_standby_names": "",
            "hot_standby": "off",
            "log_destination": "stderr",
            "logging_collector": "off",
            "restore_command": "/opt/postgres/pgbackrest-fetch %f %p",
            "recovery_target_timeline": "latest",
            "recovery_target_action": "promote",
            **aim,
        }
        line = ["postgres", "-D", str(self._data)]
        line += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self._output.open("wb") as output:
            limit = {"LAST_WAL": last_wal[TIMELINE_DIGITS:]} if last_wal else {}
            environment = {**self._environment, **limit}
            self._process = subprocess.Popen(line, env=environment, stdout=output, stderr=output)
        while self._process.poll() is None:
            ready = subprocess.run(["pg_isready", "-q", "-h", str(SOCKETS)], env=dict(self._environment), check=False)
            if ready.returncode == 0:
                return True
            time.sleep(START_SECONDS)
        return False

    def log(self) -> str:
        """What it has printed since the last start."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def promoted(self) -> tuple[int, str]:
        """Return the timeline since the promotion, and where WAL ended.

        Raises:
            ServerError: It does not answer, or was not promoted.
        """
        name = self.server.query("SELECT to_json(left(pg_walfile_name(pg_current_wal_lsn()), 8))")
        history = self._data / "pg_wal" / f"{name}.history"
        found = epoch.switch(history.read_text(encoding="utf-8")) if history.exists() else None
        if found is None:
            raise ServerError("PostgreSQL is on no timeline of its own after the recovery")
        return int(name, 16), found.position

    def stop(self) -> None:
        """End it, with everything on the volume."""
        if self._process is None:
            return
        if self._process.poll() is None:
            # Fast: a smart shutdown waits for clients.
            subprocess.run(["pg_ctl", "-D", str(self._data), "-s", "-m", "fast", "-w", "-t", "3600", "stop"],
                           env=dict(os.environ), check=False)  # fmt: skip
        self._process.wait()
        self._process = None
