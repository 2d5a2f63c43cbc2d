"""The scenarios: each loads the machine in one way and returns a row of figures."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hdrh.histogram import HdrHistogram

from bench.limits import bare_commits_us, fastest_inserts
from bench.load import Order, Result
from bench.machine import Usage, next_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load import Person
    from bench.machine import Machine

HIGHEST_US = 120_000_000
"""Of the histograms: two minutes."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything.

    Attributes:
        rates: messages a second, open loop.
        idle: connections.
        pairs: senders and as many recipients.
        windows: messages each sender keeps on the way in the closed loop; the best counts.
    """

    rates: tuple[int, ...] = (500, 1000, 2000, 5000)
    idle: tuple[int, ...] = (1000, 5000, 9000)
    pairs: int = 100
    seconds: int = 20
    windows: tuple[int, ...] = (1, 4, 16)
    pgbench_clients: tuple[int, ...] = (16, 32, 64)
    commits: int = 3000


QUICK = Sizes(rates=(1000,), idle=(2000,), pairs=50, seconds=8, windows=(4, 16), pgbench_clients=(32,), commits=1000)


class RowsDiffer(AssertionError):
    """The database does not hold what was acknowledged: the figures mean nothing."""


async def physical_limit(machine: Machine, sizes: Sizes) -> list[Row]:
    """What the same PostgreSQL does with single rows."""
    inserts = fastest_inserts(machine, sizes.seconds, sizes.pgbench_clients)
    commits = await bare_commits_us(machine, sizes.commits)
    return [
        {"what": "pgbench, durable single-row inserts", **asdict(inserts)},
        {"what": "bare commits, one connection", **_percentiles(commits)},
    ]


async def latency(machine: Machine, sizes: Sizes, rates: Sequence[float]) -> list[Row]:
    """B: from the moment a message is due to its ack, and to its recipient, at fixed rates."""
    people = await machine.pairs(sizes.pairs)
    rows = []
    for rate in rates:
        order = Order(machine.servers[0].ws_url, people, "open", next_run(), seconds=sizes.seconds, rate=rate)
        result, used = _loaded(machine, order)
        rows.append(
            {
                "rate": round(rate),
                "acked": _percentiles(result.acked_us),
                "delivered": _percentiles(result.delivered_us),
                "generator late": _percentiles(result.lateness_us),
                **_cost(result, used),
            }
        )
    return rows


async def throughput(machine: Machine, sizes: Sizes) -> list[Row]:
    """C: committed and delivered messages a second, as fast as they are acknowledged."""
    people = await machine.pairs(sizes.pairs)
    rows = []
    for window in sizes.windows:
        order = Order(machine.servers[0].ws_url, people, "closed", next_run(), seconds=sizes.seconds, window=window)
        result, used = _loaded(machine, order)
        rows.append(
            {
                "window": window,
                "messages/s": round(result.acked / result.seconds),
                "acked": _percentiles(result.acked_us),
                "delivered": _percentiles(result.delivered_us),
                **_cost(result, used),
            }
        )
    return rows


async def memory(machine: Machine, sizes: Sizes) -> list[Row]:
    """A: the server's memory for each authenticated connection that does nothing."""
    people: list[Person] = await machine.people(max(sizes.idle))
    rows = []
    for count in sizes.idle:
        before = machine.resident_kib()
        started = time.monotonic()
        with machine.connected(people[:count]):
            took = time.monotonic() - started
            held = machine.resident_kib() - before
        rows.append({"connections": count, "KiB each": round(held / count, 1), "connected in s": round(took, 1)})
    return rows


def _loaded(machine: Machine, order: Order) -> tuple[Result, Usage]:
    stored, before = machine.stored(), machine.usage()
    result = machine.load(order)
    after = machine.usage()
    new = machine.stored() - stored
    if new != result.acked or result.delivered != result.acked:
        raise RowsDiffer(f"{result.acked} acknowledged, {new} stored, {result.delivered} delivered")
    return result, Usage(after.server - before.server, after.database - before.database)


def _cost(result: Result, used: Usage) -> Row:
    """Microseconds of processor a message, and what was refused."""
    each = {"server": used.server, "database": used.database, "generator": result.cpu_seconds}
    return {
        "messages": result.acked,
        "refused": result.refused,
        "cpu us": {who: round(1e6 * seconds / result.acked) for who, seconds in each.items()},
    }


def _percentiles(values_us: list[int]) -> Row:
    """Milliseconds at the usual places."""
    histogram = HdrHistogram(1, HIGHEST_US, 3)
    for value in values_us:
        histogram.record_value(max(1, value))
    return {
        "p50": histogram.get_value_at_percentile(50) / 1000,
        "p99": histogram.get_value_at_percentile(99) / 1000,
        "p99.9": histogram.get_value_at_percentile(99.9) / 1000,
        "mean": round(statistics.fmean(values_us) / 1000, 3),
    }
