"""A private PgBouncer in transaction mode for tests, in front of a PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.support.postgres import PostgresCluster

START_SECONDS = 30
"""Seconds it may take to listen on a loaded machine."""

_CONFIGURATION = """
[databases]
; Every session becomes one user, whom `auth_type = any` needs named.
* = host=127.0.0.1 port={database_port} user=chat connect_query='SET jit = off'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
min_pool_size = 0
max_client_conn = 200
; Its default in transaction mode: what a client leaves in a session is not taken away.
server_reset_query =
server_lifetime = 3600
"""


class PgBouncer:
    """One PgBouncer; use it as a context manager.

    Args:
        postgres: where it leads to.
        pool_size: connections to PostgreSQL at most, for each database and user.
    """

    def __init__(self, postgres: PostgresCluster, pool_size: int) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise FileNotFoundError("no PgBouncer here: install Debian's package 'pgbouncer'")
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="chat-pgbouncer-"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        configuration = _CONFIGURATION.format(database_port=postgres.port, port=self.port, pool_size=pool_size)
        (self._folder / "pgbouncer.ini").write_text(configuration)
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str) -> str:
        """Return the DSN of a database through the pooler."""
        return f"postgresql://chat@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, str(self._folder / "pgbouncer.ini")],
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_listening()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_listening(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PgBouncer does not run:\n{(self._folder / 'log').read_text()}") from None
                time.sleep(0.05)
            else:
                return

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
