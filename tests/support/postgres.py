"""A private PostgreSQL cluster for tests, from the machine's own binaries."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

START_SECONDS = 60
"""Seconds the cluster may take to start or stop on a loaded machine."""

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


def find_binaries() -> Path:
    """Return the folder with initdb and postgres: the newest of Debian's, else what PATH has.

    Raises:
        FileNotFoundError: none is installed.
    """
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    if found is None:
        raise FileNotFoundError("no PostgreSQL here: install Debian's package 'postgresql'")
    return Path(found).resolve().parent


class PostgresCluster:
    """One cluster in a temporary folder; use it as a context manager.

    Args:
        settings: lines of postgresql.conf that outdo those for tests.
        superuser: its name.
        parent: folder to make the temporary folder in; None: the system's.
    """

    def __init__(self, settings: str = "", *, superuser: str = "chat", parent: Path | None = None) -> None:
        self._settings = settings
        self.superuser = superuser
        self.binaries = find_binaries()
        # Short: a unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="chat-pg-", dir=parent))
        self.data = self.folder / "data"
        self.port = _free_port()
        self._numbers = itertools.count(1)
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if (self.data / "postmaster.pid").exists():
            self.thaw()
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str = "postgres") -> str:
        """Return the DSN of a database, over TCP so that connections can break like in a cluster."""
        return f"postgresql://{self.superuser}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> str:
        # A daemon that inherits a pipe would keep it open: output goes to a file.
        with (self.folder / "output").open("a+") as output:
            start = output.tell()
            result = subprocess.run(
                [str(self.binaries / program), *arguments],
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=START_SECONDS,
                check=False,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            )
            output.seek(start)
            text = output.read()
        if result.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{text}")
        return text

    def _initialise(self) -> None:
        version = int(self._run("postgres", "--version").split()[2].split(".")[0])
        # The builtin provider came with PostgreSQL 17.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if version >= 17 else ["--locale=C"]
        self._run(
            "initdb", "--pgdata", str(self.data), f"--username={self.superuser}", "--auth=trust", "--encoding=UTF8",
            "--data-checksums", "--no-sync", *locale,
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}{self._settings}\n")
            file.write(f"port = {self.port}\nunix_socket_directories = '{self.folder}'\n")

    def start(self) -> None:
        """Start the cluster and wait until it takes connections."""
        log = str(self.folder / "postgres.log")
        self._run("pg_ctl", "start", "--pgdata", str(self.data), "--log", log, "--wait", "-t", str(START_SECONDS))

    def stop(self, mode: str = "fast") -> None:
        """Stop it; "immediate" is a crash."""
        self._run("pg_ctl", "stop", "--pgdata", str(self.data), "--mode", mode, "--wait", "-t", str(START_SECONDS))

    def freeze(self) -> None:
        """Stop all of its processes without closing anything: like a hung disk or a black hole in the network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them run on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes():
            # A backend may have ended since.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def processes(self) -> list[int]:
        """Return the ids of all of its processes, the first one's first."""
        leader = int((self.data / "postmaster.pid").read_text().split()[0])
        tasks = Path(f"/proc/{leader}/task/{leader}/children")
        return [leader, *map(int, tasks.read_text().split())]

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with psql and return its bare output."""
        return self._run(
            "psql", "--no-psqlrc", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
            "--dbname", self.dsn(database), "--command", statement,
        ).strip()  # fmt: skip

    def use_tls(self, certificate: str, key: str) -> None:
        """Take TLS connections only, with passwords, over TCP; the superuser's go on over the socket."""
        for name, text in (("server.crt", certificate), ("server.key", key)):
            path = self.data / name
            path.write_text(text)
            path.chmod(0o600)
            shutil.chown(path, self._user or os.geteuid())
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


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
