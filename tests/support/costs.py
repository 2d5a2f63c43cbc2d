"""What one request costs: bytes each way, and what PostgreSQL and the server's memory do for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from tests.support.processes import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNTING = "shared_preload_libraries = 'pg_stat_statements'\nautovacuum = off\n"
"""Settings of a PostgreSQL in which statements can be counted."""

# Sweeps of hints come by the clock.
_READ = r"""
SELECT coalesce(sum(calls), 0), coalesce(sum(rows), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0)
FROM pg_stat_statements(true) s
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1) AND queryid <> ALL ($2::bigint[])
    AND query !~ '^(BEGIN|COMMIT|ROLLBACK|\s*UPDATE hint_slots|DELETE FROM hint_slots)'
"""


@dataclass(frozen=True)
class Cost:
    """Of one request; counts, and MiB that the server's memory grew meanwhile."""

    sent: int = 0
    received: int = 0
    statements: int = 0
    rows: int = 0
    blocks: int = 0
    memory_mib: float = 0.0

    def or_more(self, other: Cost) -> Cost:
        """Return the greater of each."""
        return Cost(*(max(mine, theirs) for mine, theirs in zip(self.values(), other.values(), strict=True)))

    def or_less(self, other: Cost) -> Cost:
        """Return the smaller of each."""
        return Cost(*(min(mine, theirs) for mine, theirs in zip(self.values(), other.values(), strict=True)))

    def is_within(self, bound: Cost) -> bool:
        """Whether nothing is above a bound, whatever was sent."""
        return all(mine <= most for mine, most in zip(self.values()[1:], bound.values()[1:], strict=True))

    def values(self) -> tuple[Any, ...]:
        """Return all, in their order."""
        return (self.sent, self.received, self.statements, self.rows, self.blocks, self.memory_mib)


@dataclass
class Meter:
    """Reads what a server and its database have done.

    Attributes:
        connection: to the cluster, not to the database that is counted.
        pid: of the server.
        idle: statements that the server sends by the clock.
    """

    connection: asyncpg.Connection[asyncpg.Record]
    database: str
    pid: int
    idle: list[int] = field(default_factory=list)

    @classmethod
    async def of(cls, dsn: str, pid: int) -> Self:
        """Count from here on what is asked of a database."""
        base, _, database = dsn.rpartition("/")
        connection = await asyncpg.connect(f"{base}/postgres")
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await connection.execute("SELECT pg_stat_statements_reset()")
        return cls(connection, database, pid)

    async def leave_out(self) -> None:
        """Count those statements no more that have come so far: nobody has asked for anything yet."""
        records = await self.connection.fetch(
            "SELECT queryid FROM pg_stat_statements(true) "
            "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1)",
            self.database,
        )
        self.idle = [record[0] for record in records]

    async def begin(self) -> tuple[tuple[int, int, int], float]:
        """Return where the counts stand; memory's peak begins anew."""
        forget_peak(self.pid)
        return await self._read(), Usage.of(self.pid).memory_mib

    async def end(self, began: tuple[tuple[int, int, int], float], *, sent: int, received: int) -> Cost:
        """Return what has been done since."""
        (statements, rows, blocks), memory_mib = began
        peak_mib = Usage.of(self.pid).peak_mib
        now = await self._read()
        return Cost(
            sent,
            received,
            now[0] - statements,
            now[1] - rows,
            now[2] - blocks,
            round(max(0.0, peak_mib - memory_mib), 1),
        )

    async def _read(self) -> tuple[int, int, int]:
        record = await self.connection.fetchrow(_READ, self.database, self.idle)
        assert record is not None
        return int(record[0]), int(record[1]), int(record[2])


def forget_peak(pid: int) -> None:
    """Have the peak of a process's memory begin where it is now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def table(costs: Iterable[tuple[str, Cost, Cost]]) -> str:
    """Return the greatest cost of each request beside its bound, as text in columns."""
    columns = ("KB out", "statements", "rows", "blocks", "MiB")
    lines = [f"{'request':60}" + "".join(f"{column:>16}" for column in columns)]
    for name, cost, bound in costs:
        pairs = zip(cost.values()[1:], bound.values()[1:], strict=True)
        texts = [f"{found / scale:.0f}/{most / scale:.0f}" for (found, most), scale in zip(pairs, _SCALES, strict=True)]
        lines.append(f"{name:60}" + "".join(f"{text:>16}" for text in texts))
    return "\n".join(lines)


_SCALES = (1000, 1, 1, 1, 1)
