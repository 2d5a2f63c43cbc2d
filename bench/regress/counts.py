"""Where the counts come from: Callgrind for the server, pg_stat_statements and the WAL for PostgreSQL."""

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
# Neither of them shall come between: they work by the clock.
autovacuum = off
checkpoint_timeout = 1h
# The first change of a page after a checkpoint would weigh as much as thirty messages.
full_page_writes = off
"""

WAL = "WAL bytes"
"""What PostgreSQL writes for a commit."""

BY_THE_CLOCK = "turn_presence("
"""In the text of a statement that a server sends once a second for all who have come and gone since the last one. On a
slow machine, in lock-step, it comes once for each of them."""

CONTROL_SECONDS = 60
"""Longest wait for the process to answer: it may be in the middle of something."""

WAKE_MS = 10
"""After which a process that waits for something is woken, so that it answers."""


def command(folder: Path) -> list[str]:
    """Return what goes before a command so that its instructions can be counted, once that is switched on."""
    return [
        "valgrind",
        "--tool=callgrind",
        "--instr-atstart=no",
        # System calls are not among the instructions: a write a frame shall not look as cheap as one for all.
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
        """Return what all threads have executed so far."""
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


# Everything but the servers asks by another database.
_OF_DATABASE = """
SELECT {columns} FROM pg_stat_statements(true)
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = '{database}') AND strpos(query, '{by_the_clock}') = 0
"""


@dataclass(slots=True)
class Statements:
    """What servers have asked of one database.

    Attributes:
        idle: ids of the statements that are not counted.
    """

    postgres: PostgresCluster
    database: str
    idle: set[int] = field(default_factory=set)

    def switch_on(self) -> None:
        """Make the view; PostgreSQL counts since its start."""
        self.postgres.sql("CREATE EXTENSION pg_stat_statements")

    def leave_out(self) -> None:
        """Count those never that have come so far: what a server asks at its start, for a connection, by the clock."""
        self.idle |= {int(line) for line in self._ask("queryid").splitlines()}

    def read(self) -> dict[str, int]:
        """Return what was done so far."""
        idle = f"queryid <> ALL ('{{{','.join(map(str, self.idle))}}}')"
        found = self._ask(
            f"sum(calls) FILTER (WHERE {idle}), sum(shared_blks_hit + shared_blks_read) FILTER (WHERE {idle}),"
            " pg_current_wal_insert_lsn() - '0/0'"
        )
        calls, blocks, wal = found.split("|")
        return {"statements": int(calls or 0), "blocks": int(blocks or 0), WAL: int(wal)}

    def _ask(self, columns: str) -> str:
        return self.postgres.sql(
            _OF_DATABASE.format(columns=columns, database=self.database, by_the_clock=BY_THE_CLOCK)
        )
