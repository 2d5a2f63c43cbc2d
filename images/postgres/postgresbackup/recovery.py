"""A PostgreSQL that only its container can reach, which replays WAL in a folder and is promoted there."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from postgresagent import epoch, roles
from postgresagent.server import Server, ServerError
from postgresbackup import wal
from postgresbackup.wal import TIMELINE_DIGITS

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = Path("/etc/chatcluster/database")

SOCKETS = Path("/tmp/sockets")  # noqa: S108 - a volume of this pod alone

START_SECONDS = 1.0
"""Between looks at a server that replays."""

FETCH, FETCH_NOTHING = "/opt/postgres/pgbackrest-fetch %f %p", "false"
"""restore_command: from the repository, and for a folder that has all of its WAL."""

META_OWNER = """SELECT to_json((SELECT quote_ident(tableowner) FROM pg_tables
    WHERE schemaname = 'public' AND tablename = 'meta'))"""

NEW_EPOCH = "UPDATE public.meta SET epoch = pg_catalog.gen_random_uuid()::text"
"""The source may get the same timeline one day, and nothing else distinguishes both (docs/decisions/0073)."""

LAST_COMMIT = """SELECT to_json(to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"""


TIMELINE = "SELECT to_json(left(pg_walfile_name(pg_current_wal_lsn()), 8))"


def begin_of(data: Path, timeline: str) -> str | None:
    """Return the position at which a timeline began, as its history in a data folder says; None if there is none.

    Args:
        data: The data folder.
        timeline: As names of WAL files begin.
    """
    history = data / "pg_wal" / f"{timeline}.history"
    found = epoch.switch(history.read_text(encoding="utf-8")) if history.exists() else None
    return None if found is None else found.position


class Recovery:
    """A server that only this container can reach, and which replays WAL before it is promoted.

    Args:
        data: Its folder.
        environment: For its processes.
    """

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self._data = data
        self._environment = {**environment, "PGHOST": str(SOCKETS)}
        self._output = Path("/tmp/recovery.log")  # noqa: S108 - a volume of this pod alone
        self._process: subprocess.Popen[bytes] | None = None
        self.server = Server({**self._environment, "PGUSER": "postgres", "PGDATABASE": "postgres"})

    def run(self, target: object, last_wal: str | None, *, command: str = FETCH, timeline: str = "latest") -> bool:
        """Start it, and wait until it is promoted; returns False if it ended instead, as `log` says.

        Args:
            target: The time up to which to replay; None for all WAL.
            last_wal: The last WAL file that is replayed; None for whichever there are.
            command: restore_command.
            timeline: recovery_target_timeline.
        """
        self.stop()
        # Of a container that was killed. The lock on the volume proves that nothing runs there.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (self._data / "recovery.signal").touch()
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
            "restore_command": command,
            "recovery_target_timeline": timeline,
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
            ready = subprocess.run(["pg_isready", "-q", "-h", str(SOCKETS)], env=self._environment, check=False)
            if ready.returncode == 0:
                return True
            time.sleep(START_SECONDS)
        return False

    def learn_timelines(self, data: Path) -> None:
        """Let PostgreSQL know of all timelines of another folder, so that its new one gets a number of its own.

        Raises:
            OSError: One cannot be copied.
        """
        for history in (data / "pg_wal").glob("*.history"):
            shutil.copy(history, self._data / "pg_wal" / history.name)

    def log(self) -> str:
        """What it has printed since the last start."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def promoted(self) -> tuple[int, str]:
        """Return the timeline since the promotion, and where WAL ended.

        Raises:
            ServerError: It does not answer, or was not promoted.
        """
        name = self.server.query(TIMELINE)
        position = begin_of(self._data, name)
        if position is None:
            raise ServerError("PostgreSQL is on no timeline of its own after the recovery")
        return int(name, 16), position

    def last_commit(self) -> str | None:
        """Return the time of the last commit that it has replayed: 2026-11-30T10:14:59.123456Z; None if none was.

        Raises:
            ServerError: It does not answer.
        """
        found = self.server.query(LAST_COMMIT)
        return None if found is None else str(found)

    def own(self) -> None:
        """Make the database cluster this chat's own: clients sync afresh, and its passwords are the only ones.

        Raises:
            ServerError: It does not answer.
            roles.SecretIncomplete: The passwords are not mounted.
        """
        database = roles.desired(SECRET).database
        chat = Server({**self._environment, "PGUSER": "postgres", "PGDATABASE": database})
        owner = chat.query(META_OWNER)
        if owner is not None:
            # As the owner, whose triggers must not run with the rights of a superuser.
            chat.run([f"SET ROLE {owner}", NEW_EPOCH])
        done = subprocess.run(
            ["python3", "-m", "postgresagent", "prepare"],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ServerError(done.stderr.strip())

    def hand_over(self) -> None:
        """Leave to the server that uses the folder next what this one has not archived, after `stop`.

        Without the history of its timeline, no backup of before would count any more.

        Raises:
            OSError: It cannot be written.
        """
        folder = self._data / "pg_wal"
        last = wal.checkpoint_file(self._data)
        if last is not None:
            for name in wal.unarchived([path.name for path in folder.iterdir()], last):
                (folder / "archive_status" / f"{name}.ready").touch()

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
