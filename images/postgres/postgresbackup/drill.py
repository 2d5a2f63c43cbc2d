"""Restores the newest backup with all WAL into a scratch folder, and looks at the database: a restore drill.

A PostgreSQL that only this container can reach replays the WAL, is checked, and is deleted with all its files.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postgresagent import volume
from postgresbackup import drilled, plan, problems, repository
from postgresbackup.drilled import Begun, Content
from postgresbackup.pgbackrest import PgBackRest, PgBackRestError
from postgresbackup.problems import Code, Problem
from postgresbackup.recovery import TIMELINE, begin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postgresbackup.repository import Archive, Repository

DATABASE = "chat"
"""Name of the chat's database, as the operator makes it."""

TABLES = ("users", "chats", "messages")
"""Tables without which it is no chat's."""

PRIVATE = Path("/tmp/drill")  # noqa: S108 - a volume of this pod alone
"""Where the server's socket, its log and pgBackRest's configuration are: a full scratch volume must not keep them."""

MARK = "begun.json"
"""File of the scratch volume that is there while a drill runs."""

LOOK_SECONDS = 1.0
"""Between looks at a server that replays."""

STOP_SECONDS = 30.0
"""Longest wait for the end of the server; then it is killed. Nothing of it is kept."""

FULL_BYTES = 1024**2
"""Free bytes of the scratch volume below which every failure counts as its: not every error says so."""

LOG_END = 20_000
"""Characters of the server's log that are looked at for an error."""

LEFT_OVER = ("standby.signal", "postgresql.auto.conf", "patroni.dynamic.json")
"""Files of the source: what an administrator has set there, such as 8 GB of memory, is not for this container."""

SERVER = {
    "listen_addresses": "",
    "unix_socket_directories": str(PRIVATE),
    "hba_file": "/opt/postgres/pg_hba.conf",
    "ident_file": "/opt/postgres/pg_ident.conf",
    "shared_preload_libraries": "",
    "archive_mode": "off",
    "max_wal_senders": "0",
    "synchronous_standby_names": "",
    # Also lets it replay with fewer connections than the source had.
    "hot_standby": "off",
    "max_connections": "20",
    "autovacuum": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
    "restore_command": "/opt/postgres/pgbackrest-fetch %f %p",
    "recovery_target_timeline": "latest",
    "recovery_target_action": "promote",
    # All of it fits into the limits of the backup pod, with two checks at once.
    "huge_pages": "off",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "64MB",
    "work_mem": "4MB",
    "max_parallel_workers_per_gather": "0",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "jit": "off",
    # Nothing of it is kept.
    "fsync": "off",
    "full_page_writes": "off",
}
"""Parameters, which win over those of the source."""

OPTIONS = "-c search_path= -c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"
"""Of sessions, which win over what the source has set for its roles and its database."""

CHECKS = 2
"""Tables and indexes that are checked at once."""

DATABASES = "SELECT json_agg(datname) FROM pg_database"

MISSING_TABLES = """SELECT coalesce(json_agg(name), '[]') FROM unnest('{%s}'::text[]) AS name
    WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('public.' || name) AND relkind IN ('r', 'p'))"""
"""A view would run what its owner wrote, as a superuser."""

COUNTS = """SELECT json_build_object(
    'users', (SELECT count(*) FROM public.users),
    'chats', (SELECT count(*) FROM public.chats WHERE kind <> 'self'),
    'messages', found.messages,
    'newest_message', found.newest,
    'restored_to', pg_last_xact_replay_timestamp())
    FROM (SELECT count(*) AS messages, max(created_at) AS newest
          FROM public.messages WHERE kind = 'message') AS found"""


class DrillFailed(Exception):
    """The database could not be restored, or is not whole.

    Attributes:
        problem: Why.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(code, text[: problems.TEXT_MAX])


class Drill:
    """Drills, one after another, in one scratch folder.

    Args:
        config: pgbackrest.conf of the repository host.
        scratch: Where the scratch volume is mounted.
        environment: For processes: the secrets of the repository.
    """

    def __init__(self, config: Path, scratch: Path, environment: Mapping[str, str]) -> None:
        self._config = config
        self._scratch = scratch
        self._data = scratch / "pgdata"
        self._programs = PgBackRest(PRIVATE / "pgbackrest.conf", environment)
        self._environment = {
            **environment,
            "PGHOST": str(PRIVATE),
            "PGUSER": "postgres",
            "PGOPTIONS": OPTIONS,
            "RESTORE_CONFIG": str(PRIVATE / "pgbackrest.conf"),
            "RESTORE_DATA": str(self._data),
        }
        self._deadline = 0.0
        self._seconds = 0.0

    @property
    def is_possible(self) -> bool:
        """Whether there is a scratch volume. A pod reads of drills before one with the volume replaces it."""
        return self._scratch.is_dir()

    def interrupted(self, now: dt.datetime) -> Begun | None:
        """Return the drill that has begun and not ended; None if there is none.

        Raises:
            OSError: The scratch volume cannot be read.
        """
        mark = self._scratch / MARK
        return drilled.begun_read(mark.read_text(encoding="utf-8"), now) if mark.exists() else None

    def run(self, begun: Begun, found: Repository, wal: Archive, seconds: float) -> Content:
        """Restore the newest backup and all WAL, and look at the database.

        Args:
            begun: What an interruption of the drill leaves behind.
            found: What is in the repository.
            wal: Its WAL.
            seconds: How long it may take.

        Raises:
            DrillFailed: The database cannot be restored, or is not whole.
        """
        self._deadline, self._seconds = time.monotonic() + seconds, seconds
        try:
            self._clear()
            (self._scratch / MARK).write_text(drilled.begun_written(begun), encoding="utf-8")
            self._restore(found, wal)
            return self._try_out(wal.newest)
        except PgBackRestError as error:
            raise self._failed(error.problem) from error
        except OSError as error:
            raise self._failed(problems.problem(0, f"ERROR: {error}")) from error
        finally:
            with contextlib.suppress(OSError):
                self._clear()

    def forget(self) -> None:
        """Note that the drill has ended, once its result is remembered elsewhere."""
        with contextlib.suppress(OSError):
            (self._scratch / MARK).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the restore that runs, as on the container's end."""
        self._programs.stop()

    def _clear(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        shutil.rmtree(PRIVATE, ignore_errors=True)

    def _left(self) -> float:
        """Return the seconds that are left.

        Raises:
            DrillFailed: None are.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            said = f"the drill had not ended after {self._seconds:.0f} s (database.backup.drill.timeoutSeconds)"
            raise DrillFailed(Code.TIMED_OUT, said)
        return left

    def _failed(self, found: Problem) -> DrillFailed:
        """What a failure means: all that a drill writes goes to the scratch volume."""
        try:
            self._left()
        except DrillFailed as late:
            return late
        space = volume.look(self._scratch)
        if found.code is not Code.FULL and space.free >= FULL_BYTES:
            return DrillFailed(found.code, found.text)
        size = space.size // 1024**2
        said = f"the scratch volume of {size} MiB is too small (database.backup.drill.size): {found.text}"
        return DrillFailed(Code.SCRATCH_FULL, said)

    def _restore(self, found: Repository, wal: Archive) -> None:
        if found.newest is None:
            raise DrillFailed(Code.OTHER, "the repository has no backup")
        if missing := repository.gaps(wal, found.newest.first_wal):
            said = f"WAL file {missing[0]} is missing in the repository: what was written from then on is lost"
            raise DrillFailed(Code.WAL_MISSING, said)
        PRIVATE.mkdir(mode=0o700)
        host = self._config.read_text(encoding="utf-8")
        (PRIVATE / "pgbackrest.conf").write_text(drilled.configuration(host, str(self._data)), encoding="utf-8")
        self._data.mkdir(mode=0o700)
        options = (f"--pg1-path={self._data}", f"--set={found.newest.label}", "--type=none")
        self._programs.run("restore", *options, seconds=self._left())
        for name in LEFT_OVER:
            (self._data / name).unlink(missing_ok=True)
        (self._data / "recovery.signal").touch()

    def _try_out(self, newest_wal: str | None) -> Content:
        output = PRIVATE / "postgresql.log"
        line = ["postgres", "-D", str(self._data)]
        line += [word for name, value in SERVER.items() for word in ("-c", f"{name}={value}")]
        with output.open("wb") as log:
            server = subprocess.Popen(line, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._recovered(server, output)
            ended = self._ended()
            if not plan.reaches(ended, newest_wal):
                said = f"WAL ended at {ended}, before the end of file {newest_wal}: it is missing or damaged"
                raise DrillFailed(Code.NOT_RECOVERED, said)
            return self._content()
        finally:
            self._end(server)

    def _recovered(self, server: subprocess.Popen[bytes], output: Path) -> None:
        """Wait until all WAL is replayed.

        Raises:
            DrillFailed: It was not.
        """
        while server.poll() is None:
            ready = subprocess.run(["pg_isready", "-q"], env=self._environment, check=False)
            if ready.returncode == 0:
                return
            time.sleep(min(LOOK_SECONDS, self._left()))
        raise self._failed(problems.recovery(output.read_text(encoding="utf-8", errors="replace")[-LOG_END:]))

    def _ended(self) -> str:
        """Return the position at which WAL ended."""
        position = begin_of(self._data, self._query(TIMELINE, "postgres"))
        if position is None:
            raise DrillFailed(Code.NOT_RECOVERED, "PostgreSQL is on no timeline of its own after the recovery")
        return position

    def _content(self) -> Content:
        if DATABASE not in self._query(DATABASES, "postgres"):
            raise DrillFailed(Code.NO_CHAT, f"the restored server has no database {DATABASE}")
        if missing := self._query(MISSING_TABLES % ",".join(TABLES)):
            raise DrillFailed(Code.NO_CHAT, f"the restored database has no table {' and '.join(missing)}")
        self._check()
        found = self._query(COUNTS)
        times = {
            name: None if found[name] is None else dt.datetime.fromisoformat(found[name])
            for name in ("newest_message", "restored_to")
        }
        return Content(found["users"], found["chats"], found["messages"], **times)

    def _check(self) -> None:
        """Compare all tables with all their indexes.

        Raises:
            DrillFailed: They differ, or one is damaged.
        """
        # After the first page of a table with errors: their number, and so the memory for them, has no limit.
        options = ("--install-missing", "--heapallindexed", "--parent-check", "--on-error-stop", f"--jobs={CHECKS}")
        done = self._run("pg_amcheck", *options, DATABASE)
        if done.returncode != 0:
            said = " ".join(f"{done.stdout} {done.stderr}".split())
            code = Code.DAMAGED if done.returncode == FOUND else Code.OTHER
            raise self._failed(Problem(code, f"pg_amcheck: {said}"))

    def _query(self, statement: str, database: str = DATABASE) -> Any:
        """Return the JSON that a statement selects."""
        done = self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)
        if done.returncode != 0:
            raise self._failed(Problem(Code.DAMAGED, f"the restored database cannot be read: {done.stderr.strip()}"))
        return json.loads(done.stdout)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command, env=self._environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=self._left(), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            self._left()
            raise

    def _end(self, server: subprocess.Popen[bytes]) -> None:
        if server.poll() is None:
            command = ["pg_ctl", "-D", str(self._data), "-s", "-m", "immediate", "-W", "stop"]
            subprocess.run(command, env=self._environment, stderr=subprocess.DEVNULL, check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        server.kill()
        server.wait()


FOUND = 2
"""Exit code of pg_amcheck when something is damaged."""
