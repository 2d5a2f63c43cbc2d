"""Runs the fixed work on a real chatserver and a real PostgreSQL, and counts the cost per unit."""

from __future__ import annotations

import contextlib
import platform
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bench.filling import Filling
from bench.interpreter import built
from bench.regress.counts import COUNTING_SETTINGS, WAL, Callgrind, Statements, command
from bench.regress.works import Stage
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.regress.works import Work

WARM_UP_GOES = 2
"""Rounds before counting. PostgreSQL decides on a generic plan when a statement has run five times."""

GOES = 5
"""Counted rounds, of which the least counts: what a busy machine changes, such as answers that come in more pieces and
periodic work in the middle, only adds."""

IDLE_SECONDS = 4.0
"""Longer than any period of an idle server here: statements in this time belong to no message."""

START_SECONDS = 240.0
"""Longest start: under Callgrind, on a machine that others use."""

SETTINGS: dict[str, str | float] = {
    # All features on: the limits count, and reject nobody.
    "CHAT_MESSAGES_PER_USER_PER_MINUTE": 10**6,
    "CHAT_STORED_BYTES_PER_USER_PER_HOUR": 2**50,
    "CHAT_REQUESTS_PER_DEVICE_PER_MINUTE": 10**6,
    # A connection that is opened meanwhile belongs to no message: two are open soon.
    "CHAT_DATABASE_POOL_SIZE": 2,
    # As rarely as possible: it writes.
    "CHAT_HEARTBEAT_SECONDS": 60,
    "CHAT_LOG_LEVEL": "INFO",
    # The order of sets, and so the work for them, is the same in each run.
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True, slots=True)
class Read:
    """All counts at a time of the monotonic clock."""

    counts: dict[str, int]
    at: float


@dataclass(slots=True)
class Idle:
    """The periodic work of the server per second: on a slow machine a message contains more of it."""

    a_second: dict[str, float] = field(default_factory=dict)

    def without(self, was: Read, now: Read) -> dict[str, float]:
        """Return the counts between two reads without it."""
        seconds = now.at - was.at
        return {
            name: max(0.0, count - was.counts[name] - seconds * self.a_second.get(name, 0.0))
            for name, count in now.counts.items()
        }


@dataclass(frozen=True, slots=True)
class Bench:
    """The counted server, with everything around it."""

    server: ServerProcess
    postgres: PostgresCluster
    stage: Stage
    callgrind: Callgrind
    statements: Statements
    idle: Idle = field(default_factory=Idle)

    def count(self, work: Work) -> dict[str, float]:
        """Return the cost of one unit of a work, by count."""
        with work.ready(self.stage) as go:
            for _ in range(WARM_UP_GOES):
                go()
            reads = [self.read()]
            for _ in range(GOES):
                go()
                reads.append(self.read())
        goes = [self.idle.without(was, now) for was, now in pairwise(reads)]
        names = [name for name in goes[0] if work.stores or name != WAL]
        return {name: min(one[name] for one in goes) / work.units for name in names}

    def read(self) -> Read:
        """Return all counts so far."""
        # The clock last: what happens while it is read belongs to the next read.
        counts = self.callgrind.read() | self.statements.read() | self.stage.received()
        return Read(counts, time.monotonic())

    def learn_idle(self) -> None:
        """Wait, and record the counts of this time as the periodic work."""
        was = self.read()
        time.sleep(IDLE_SECONDS)
        self.statements.leave_out()
        now = self.read()
        done = self.idle.without(was, now)
        # The others are those of a work alone: by their statement, or by who gets them.
        clocks = ("instructions", "system calls", WAL)
        self.idle.a_second.update({name: done[name] / (now.at - was.at) for name in clocks})

    def counted_with(self) -> dict[str, str]:
        """Return what the counts depend on besides the code: name -> version."""
        version = ".".join(platform.python_version_tuple()[:2])
        return {
            "machine": platform.machine(),
            "Python": f"{version}, {built()}",
            "PostgreSQL": self.postgres.sql("SHOW server_version").split(".")[0],
        }


@contextlib.contextmanager
def running(run_by: Sequence[str] = (), **settings: str | float) -> Iterator[Bench]:
    """Start everything, and wait until the work of an idle server is known.

    Args:
        run_by: a command that runs the server.
        settings: of the server, beside `SETTINGS`.

    Raises:
        FileNotFoundError: Valgrind is not here.
        EmbeddedPostgresError: PostgreSQL is not here.
    """
    with tempfile.TemporaryDirectory(prefix="bench-regress-") as name, PostgresCluster(COUNTING_SETTINGS) as postgres:
        folder = Path(name)
        database = postgres.create_database()
        dsn = postgres.dsn(database)
        migrate(dsn)
        statements = Statements(postgres, database)
        statements.switch_on()
        server = ServerProcess(dsn, "counted", **SETTINGS, **settings)
        server.prefix, server.start_seconds = [*command(folder), *run_by], START_SECONDS
        with (
            server,
            ServerProcess(dsn, "other", **SETTINGS) as other,
            contextlib.closing(Stage.made(Filling(postgres, database), server.url, other.url)) as stage,
        ):
            callgrind = Callgrind(server.pid, folder)
            callgrind.switch_on()
            bench = Bench(server, postgres, stage, callgrind, statements)
            bench.learn_idle()
            yield bench
