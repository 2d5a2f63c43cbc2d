"""A private PostgreSQL for tests, from the machine's own programs: over TCP, with faults and new databases at will."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Self

from chatserver.dev.postgres import START_SECONDS, PrivatePostgres
from chatserver.dev.programs import find_binaries
from tests.support.ports import free_port

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_connections = 100
shared_buffers = 64MB
log_min_messages = warning
# Who said it, in which database: StatementLog reads it.
log_line_prefix = '%a|%d|'
client_connection_check_interval = 2s
# Tests restart and kill the server; with fsync off an immediate stop still loses nothing while the machine stays up.
fsync = off
"""

_made: Counter[tuple[str, int]] = Counter()
"""Clusters that this process has made, by superuser and version."""

_templates: dict[tuple[str, int], Path] = {}
"""Folders with the files of one that never ran."""


def _copy(data: Path, to: Path) -> None:
    subprocess.run(["cp", "--archive", data, to], check=True)


class PostgresCluster(PrivatePostgres):
    """One cluster in a temporary folder; use it as a context manager.

    Args:
        settings: lines of postgresql.conf that outdo those for tests.
        superuser: its name.
        parent: folder to make the temporary folder in; None: the system's.
        binaries: folder with PostgreSQL's programs; None: the machine's own.
    """

    def __init__(
        self,
        settings: str = "",
        *,
        superuser: str = "chat",
        parent: Path | None = None,
        binaries: Path | None = None,
    ) -> None:
        binaries = binaries or find_binaries()
        self.port = free_port()
        self._settings = settings
        self._numbers = itertools.count(1)
        folder = Path(tempfile.mkdtemp(prefix="chat-pg-", dir=parent))
        # Killed on a machine that is slow to stop it, it would recover where a test expects a clean start.
        super().__init__(folder, binaries, superuser=superuser, stop_seconds=START_SECONDS)

    def __enter__(self) -> Self:
        try:
            self.initialise(f"{_CONFIGURATION}{self._settings}\nport = {self.port}\n", sync=False)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def initialise(self, configuration: str, *, sync: bool) -> None:
        """Make the database's files: from the third cluster on as a copy, since initdb takes a second of CPU."""
        key = (self.superuser, self.major)
        _made[key] += 1
        template = _templates.get(key)
        if template is None:
            super().initialise("", sync=sync)
            if _made[key] > 1:
                _templates[key] = template = Path(tempfile.mkdtemp(prefix="chat-pg-template-"))
                atexit.register(shutil.rmtree, template, ignore_errors=True)
                _copy(self.data, template / "data")
        else:
            _copy(template / "data", self.data)
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(configuration)

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str = "postgres") -> str:
        """Return the DSN of a database, over TCP so that connections can break like in a cluster."""
        return f"postgresql://{self.superuser}@127.0.0.1:{self.port}/{database}"

    def freeze(self) -> None:
        """Stop all of its processes without closing anything: like a hung disk or a black hole in the network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them run on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes() if self.pid is not None else ():
            # A backend may have ended since.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def processes(self) -> list[int]:
        """Return the ids of all processes of a running one, the first one's first."""
        assert self.pid is not None
        tasks = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [self.pid, *map(int, tasks.read_text().split())]

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with psql and return its bare output."""
        return self.run(
            "psql", "--no-psqlrc", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
            "--dbname", self.dsn(database), "--command", statement,
        ).strip()  # fmt: skip

    def use_tls(self, certificate: str, key: str) -> None:
        """Take TLS connections only, with passwords, over TCP; the superuser's go on over the socket."""
        for name, text in (("server.crt", certificate), ("server.key", key)):
            path = self.data / name
            path.write_text(text)
            path.chmod(0o600)
            if self.user is not None:
                shutil.chown(path, self.user.pw_uid)
        rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(rules)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        self.stop()
        self.start()

    def create_database(self, template: str = "template0") -> str:
        """Make a database from a template that nobody is connected to, and return its name."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name
