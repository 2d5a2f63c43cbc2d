"""The limits of this machine: durable single-row inserts with pgbench, and successive commits of one row."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from bench import latencies
from bench.usage import cpu_seconds

if TYPE_CHECKING:
    from bench.measure import Row
    from tests.support.postgres import PostgresCluster

TABLE = """
CREATE TABLE IF NOT EXISTS single_row (
    message_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sender_id    bigint NOT NULL,
    receiver_id  bigint NOT NULL,
    message_text text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
)
"""
"""A message in the simplest schema."""

INSERT = (
    "INSERT INTO single_row (sender_id, receiver_id, message_text) "
    "VALUES ({sender}, {receiver}, 'Are you coming to the market with us this afternoon?')"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A database that only these measurements use."""

    postgres: PostgresCluster
    database: str


def inserts(target: Target, seconds: float, clients: tuple[int, ...]) -> list[Row]:
    """Insert rows one by one with several numbers of clients."""
    target.postgres.sql(TABLE, target.database)
    script = target.postgres.folder / "insert.sql"
    random = "\\set a random(1, 1000000)\n\\set b random(1, 1000000)\n"
    script.write_text(f"{random}{INSERT.format(sender=':a', receiver=':b')};\n")
    return [_insert(target, str(script), max(1, round(seconds)), count) for count in clients]


def _insert(target: Target, script: str, seconds: int, clients: int) -> Row:
    before = cpu_seconds(target.postgres.processes())
    done = subprocess.run(
        [
            *("pgbench", "--no-vacuum", "--protocol=prepared", "--file", script, "--time", str(seconds)),
            *("--client", str(clients), "--jobs", str(min(2, clients)), target.postgres.dsn(target.database)),
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
    used = cpu_seconds(target.postgres.processes()) - before
    return {
        "clients": clients,
        "per_second": float(found[1]),
        "cpu us": {"database": round(1e6 * used / int(rows[1]))},
    }


def bare_commits(target: Target, count: int) -> list[Row]:
    """Time commits of one row each, one after the other on one connection."""
    target.postgres.sql(TABLE, target.database)
    taken = asyncio.run(_commits_us(target, count))
    return [{"commits": count, "ms": latencies.percentiles(latencies.encode(taken))}]


async def _commits_us(target: Target, count: int) -> list[int]:
    connection = await asyncpg.connect(target.postgres.dsn(target.database))
    try:
        taken = []
        for _ in range(count):
            started_ns = time.perf_counter_ns()
            await connection.execute(INSERT.format(sender=1, receiver=2))
            taken.append((time.perf_counter_ns() - started_ns) // 1000)
        return taken
    finally:
        await connection.close()
