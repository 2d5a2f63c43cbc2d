"""What this machine can do at all: durable single-row inserts with pgbench, and one bare commit after the other."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from bench.machine import Machine

TABLE = """
CREATE TABLE single_row (
    message_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sender_id    bigint NOT NULL,
    receiver_id  bigint NOT NULL,
    message_text text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
)
"""
"""A message as the simplest schema stores it."""

INSERT = (
    "INSERT INTO single_row (sender_id, receiver_id, message_text) "
    "VALUES ({sender}, {receiver}, 'Are you coming to the market with us this afternoon?')"
)


@dataclass(frozen=True, slots=True)
class Inserts:
    """The best that pgbench reached.

    Attributes:
        per_second: committed rows.
        database_us: microseconds of the database's processors a row.
    """

    clients: int
    per_second: float
    database_us: float


def fastest_inserts(machine: Machine, seconds: int, clients: tuple[int, ...]) -> Inserts:
    """Insert rows one by one with several numbers of clients; returns the best."""
    machine.postgres.sql(TABLE, machine.database)
    script = machine.postgres.folder / "insert.sql"
    random = "\\set a random(1, 1000000)\n\\set b random(1, 1000000)\n"
    script.write_text(f"{random}{INSERT.format(sender=':a', receiver=':b')};\n")
    return max((_insert(machine, str(script), seconds, count) for count in clients), key=lambda best: best.per_second)


def _insert(machine: Machine, script: str, seconds: int, clients: int) -> Inserts:
    before = machine.usage().database
    done = subprocess.run(
        [
            *("pgbench", "--no-vacuum", "--protocol=prepared", "--file", script, "--time", str(seconds)),
            *("--client", str(clients), "--jobs", "2", machine.postgres.dsn(machine.database)),
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    rows = re.search(r"actually processed: (\d+)", done.stdout)
    if found is None or rows is None:
        raise RuntimeError(f"pgbench said something else:\n{done.stdout}")
    used = machine.usage().database - before
    return Inserts(clients, float(found[1]), 1e6 * used / int(rows[1]))


async def bare_commits_us(machine: Machine, count: int) -> list[int]:
    """Microseconds of each of many commits of one row, one after the other on one connection."""
    connection = await asyncpg.connect(machine.postgres.dsn(machine.database))
    try:
        taken = []
        for _ in range(count):
            started_ns = time.perf_counter_ns()
            await connection.execute(INSERT.format(sender=1, receiver=2))
            taken.append((time.perf_counter_ns() - started_ns) // 1000)
        return taken
    finally:
        await connection.close()
