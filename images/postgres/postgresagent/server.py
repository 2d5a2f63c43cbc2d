"""Runs PostgreSQL's programs for the server beside the agent."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SECONDS = 10
"""Longest run of a program; it is run again in the next round."""

READ_SECONDS, CONNECT_SECONDS = 7, 3
"""Longest run of `read` and of its connecting: less than the 10 s that Prometheus waits by default."""

_QUIET = """
SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1;
SET statement_timeout = '8s'; SET lock_timeout = '5s'; SET default_transaction_read_only = off;
SET synchronous_commit = local;
"""
"""No statement of the agent is logged, whatever the user's parameters are: some contain verifiers. And none waits for a
replica: it may need the role that is being made, and a leader that takes over makes what is missing."""


class ServerError(Exception):
    """A program failed; the text is its error."""


class Server:
    """PostgreSQL's programs.

    Args:
        environment: For them; libpq's variables say where the server is.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def query(self, statement: str) -> Any:
        """Return the JSON that one statement selects.

        Raises:
            ServerError: The server does not answer.
        """
        return json.loads(self._psql(f"{_QUIET}{statement};"))

    def read(self, script: str, *, role: str, database: str) -> Any:
        """Return the JSON that a script for psql selects, as a role without rights of a superuser.

        Raises:
            ServerError: The server does not answer in time, or does not let the role in.
        """
        libpq = {"PGUSER": role, "PGDATABASE": database, "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS)}
        return json.loads(self._psql(script, libpq, READ_SECONDS))

    def write(self, statement: str, *, role: str, database: str) -> None:
        """Run a statement that changes something, as a role without rights of a superuser; no replica is waited for.

        Raises:
            ServerError: It was rejected, or the server does not answer.
        """
        settings = "SET default_transaction_read_only = off; SET synchronous_commit = local;"
        self._psql(f"{settings}{statement};", {"PGUSER": role, "PGDATABASE": database}, READ_SECONDS)

    def wal(self, segment: Path, start: str, end: str) -> str:
        """Return the records between two positions as pg_waldump shows them, if all of them are there.

        Args:
            segment: The WAL file with the first of them. Without it, pg_waldump would look at any, which may be empty.
            start: Position from which on to look for a record.
            end: Position before which the last one ends.

        Raises:
            ServerError: The program cannot be run.
        """
        done = self._run(["pg_waldump", "-s", start, "-e", end, str(segment)])
        return done.stdout if done.returncode == 0 else ""

    def run(self, statements: Iterable[str]) -> None:
        """Run statements one by one until the first that fails.

        Raises:
            ServerError: One was rejected, or the server does not answer.
        """
        self._psql(_QUIET + "".join(f"{statement};\n" for statement in statements))

    def check_configuration(self, config_file: Path, data: Path) -> str | None:
        """Return PostgreSQL's error about a configuration; None if it accepts it. No server is started.

        Raises:
            ServerError: The program cannot be run.
        """
        done = self._run(["postgres", "-D", str(data), "-c", f"config_file={config_file}", "-C", "config_file"])
        return None if done.returncode == 0 else done.stderr

    def _psql(self, text: str, libpq: Mapping[str, str] | None = None, seconds: float = SECONDS) -> str:
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"]
        done = self._run(command, text, libpq, seconds)
        if done.returncode != 0:
            raise ServerError(done.stderr.strip() or f"psql ended with {done.returncode}")
        return done.stdout

    def _run(
        self, command: list[str], text: str = "", libpq: Mapping[str, str] | None = None, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                input=text,
                env={**self._environment, **(libpq or {})},
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise ServerError(f"{command[0]}: {error}") from error
