"""The sources of the counts: Callgrind for the server, pg_stat_statements and the WAL for PostgreSQL."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresCluster

COUNTING_SETTINGS = """
shared_preload_libraries = 'pg_stat_statements'
# Both run periodically and would disturb the counts.
autovacuum = off
checkpoint_timeout = 1h
# The first change of a page after a checkpoint writes as much WAL as thirty messages.
full_page_writes = off
"""

WAL = "WAL bytes"
"""The count of bytes that PostgreSQL writes for commits."""

BY_THE_CLOCK = "turn_presence("
"""Part of a statement that a server sends once a second for all users who connected or disconnected since the last one.
On a slow machine, in lock-step, it is sent for each of them."""

CONTROL_SECONDS = 60
"""Longest wait for the process to answer: it may be busy."""

WAKE_MS = 10
"""Milliseconds after which a waiting process is woken, so that it answers."""


def command(folder: Path) -> list[str]:
    """Return the prefix of a command whose instructions can be counted after `switch_on`."""
    return [
        "valgrind",
        "--tool=callgrind",
        "--instr-atstart=no",
        # Instructions exclude system calls: a write per frame must not look as cheap as one for all frames.
        "--collect-systime=yes",
        f"--callgrind-out-file={folder / 'callgrind.out'}",
        f"--vgdb-prefix={folder / 'vgdb'}",
    ]


@dataclass(frozen=True, slots=True)
class Callgrind:
    """A running process that was started with `command`."""

    pid: int
    folder: Path

    def switch_on(self) -> None:
        """Count from here on."""
        self._control("instrumentation", "on")

    def read(self) -> dict[str, int]:
        """Return the instructions and system calls of all threads so far."""
        text = self._control("status", "internal")
        totals = [line.split() for line in re.findall(r"^events-\d+: (.*)$", text, re.MULTILINE)]
        return {
            "instructions": sum(int(total[0]) for total in totals if total),
            "system calls": sum(int(total[1]) for total in totals if len(total) > 1),
        }

    def _control(self, *words: str) -> str:
        done = subprocess.run(
            [
                "vgdb",
                f"--vgdb-prefix={self.folder / 'vgdb'}",
                f"--max-invoke-ms={WAKE_MS}",
                f"--pid={self.pid}",
                *words,
            ],
            capture_output=True,
            text=True,
            timeout=CONTROL_SECONDS,
            check=True,
        )
        return done.stdout


# Everything except the servers uses another database.
_OF_DATABASE = """
SELECT {columns} FROM pg_stat_statements(true)
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = '{database}') AND strpos(query, '{by_the_clock}') = 0
"""


@dataclass(slots=True)
class Statements:
    """The statements that servers ran on one database.

    Attributes:
        idle: ids of the statements that are not counted.
    """

    postgres: PostgresCluster
    database: str
    idle: set[int] = field(default_factory=set)

    def switch_on(self) -> None:
        """Create the view; PostgreSQL counts since its start."""
        self.postgres.sql("CREATE EXTENSION pg_stat_statements")

    def leave_out(self) -> None:
        """Exclude all statements run so far: those of a server's start, of a connection, and periodic ones."""
        self.idle |= {int(line) for line in self._query("queryid").splitlines()}

    def read(self) -> dict[str, int]:
        """Return the counts so far."""
        idle = f"queryid <> ALL ('{{{','.join(map(str, self.idle))}}}')"
        found = self._query(
            f"sum(calls) FILTER (WHERE {idle}), sum(shared_blks_hit + shared_blks_read) FILTER (WHERE {idle}),"
            " pg_current_wal_insert_lsn() - '0/0'"
        )
        calls, blocks, wal = found.split("|")
        return {"statements": int(calls or 0), "blocks": int(blocks or 0), WAL: int(wal)}

    def _query(self, columns: str) -> str:
        return self.postgres.sql(
            _OF_DATABASE.format(columns=columns, database=self.database, by_the_clock=BY_THE_CLOCK)
        )
