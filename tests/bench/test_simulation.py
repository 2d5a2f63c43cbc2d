"""The simulation: seeded, close to what was measured where that can be compared, and what docs/scale-out.md prints."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import Literal
from unittest import mock

import pytest

from bench.simulation import report, world
from bench.simulation.costs import Costs, batch_cpu, interpolated, wal_bytes
from bench.simulation.report import RATE, WORLDS, load, standing
from bench.simulation.world import MESSAGES, SHARDS, World
from bench.simulation.world import simulate as simulate_anew
from chatserver import bounds
from chatserver.messaging.writer import BATCH_ROWS

PAGE = Path(__file__).parents[2] / "docs" / "scale-out.md"
SMALL = World("small", 4, 2, 1000, "Valkey")

simulate = functools.cache(simulate_anew)
"""Several tests look at the same worlds."""

FEW = 15_000
"""Messages of a world in which only what is far apart is compared: a quarter of the others' CPU."""


@functools.cache
def outline(of: World) -> world.Outcome:
    """Simulate a world with few messages."""
    with mock.patch.object(world, "MESSAGES", FEW):
        return simulate_anew(of, Costs())


@pytest.fixture(autouse=True)
def _each_world_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "simulate", simulate)


def test_the_same_seed_gives_the_same_figures_and_another_one_nearly_the_same() -> None:
    first, again, other = (simulate_anew(SMALL, Costs(), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    for name, value in dataclasses.asdict(first).items():
        assert getattr(other, name) == pytest.approx(value, rel=0.02), name


def test_one_server_at_1000_a_second_costs_what_was_measured() -> None:
    outcome = outline(World("one", 1, 1, 1000, "NOTIFY"))
    # latest.md, B: 417 of the database and 410 of the server.
    assert outcome.database_cpu == pytest.approx(417, rel=0.35)
    assert outcome.server_cores == pytest.approx(0.41)
    assert outcome.bus_cores == 0


def test_rows_share_a_batch_only_where_their_writer_is_the_same() -> None:
    rows = {servers: outline(World("", servers, 1, 10_000, "Valkey")).rows for servers in (1, 4, 64)}
    assert rows[1] > 2 * rows[4] > 2 * rows[64] >= 2
    alone = outline(dataclasses.replace(SMALL, servers=64))
    written = outline(dataclasses.replace(SMALL, servers=64, has_writers=True))
    assert written.rows > alone.rows


def test_a_pace_makes_batches_larger_and_the_database_cheaper() -> None:
    fast, paced = (outline(dataclasses.replace(SMALL, pace_milliseconds=ms)) for ms in (0, 8))
    assert paced.rows > fast.rows
    assert paced.database_cpu < fast.database_cpu
    assert paced.batches_per_second <= 1000 / 8 * 4


def test_directed_hints_do_not_grow_with_the_servers_and_notify_does() -> None:
    def bus(servers: int, kind: Literal["NOTIFY", "Valkey"]) -> float:
        return outline(dataclasses.replace(SMALL, servers=servers, bus=kind)).bus_cores

    assert bus(64, "NOTIFY") > 4 * bus(4, "NOTIFY")
    assert bus(64, "Valkey") < 1.4 * bus(16, "Valkey")


def test_nobody_is_told_of_rows_without_connected_recipients() -> None:
    outcome = outline(dataclasses.replace(SMALL, connected=0))
    assert outcome.hints == outcome.bus_cores == 0


@pytest.mark.parametrize(("rows", "cpu"), [(1, 600), (4, 800), (16, 1330), (64, 1330 + 48 * 24)])
def test_a_batch_costs_what_was_measured(rows: int, cpu: float) -> None:
    assert batch_cpu(Costs(), rows) == cpu


def test_curves_go_on_along_their_last_two_points() -> None:
    curve = ((1, 10), (3, 20))
    assert [interpolated(curve, x) for x in (0, 1, 2, 3, 5)] == [10, 10, 15, 20, 30]


def test_the_largest_world_is_that_of_60_billion_messages_a_day() -> None:
    assert round(RATE) == 694_444
    assert WORLDS[-1].servers * WORLDS[-1].connections == 500_000_000


def test_the_page_shows_what_the_simulation_prints() -> None:
    shown = re.findall(r"^\|.*?(?=\n\n)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert load(Costs()) in shown, "run `python -m bench simulate` and put its tables into docs/scale-out.md"
    assert standing(Costs()) in shown


COSTS = Costs()
DATABASES = WORLDS[-1].databases
YEAR = RATE * 86_400 * 365


@pytest.mark.parametrize(
    "sentence",
    [
        f"60 billion messages a day, which are {RATE:,.0f} a second",
        f"| {COSTS.server_kib} KiB each | more servers |",
        f"{COSTS.server_cpu[-1][1]} to {COSTS.server_cpu[0][1]} us each",
        f"{COSTS.notify_cpu[-1][1]:,} us of CPU a message with 64 servers",
        f"{COSTS.batch_cpu[0][1]} us of CPU for a batch of one row | {COSTS.further_row_cpu} us a message",
        f"{COSTS.proxy_connections:,} connections a process | {COSTS.proxy_kib} KiB each, {COSTS.proxy_cpu} us",
        "{} us server, {} us database, {} us proxy".format(*COSTS.handshake_cpu),
        f"writes {wal_bytes(COSTS, 1):.0f} bytes of WAL alone, and {wal_bytes(COSTS, 64):.0f} in a batch of 64",
        f"after a checkpoint writes {COSTS.wal_first_bytes:,}",
        f"between {RATE * wal_bytes(COSTS, 37) / 1e6:.0f} MB/s",
        f"and {RATE * COSTS.wal_first_bytes / 1e9:.1f} GB/s",
        f"each of {DATABASES} databases these are {RATE * wal_bytes(COSTS, 37) / DATABASES / 1e6:.0f} and",
        f"and {RATE * COSTS.wal_first_bytes / DATABASES / 1e6:.0f} MB/s, to the volume",
        f"stores {YEAR / 1e12:.0f} trillion messages, {YEAR / SHARDS / 1e9:.0f} billion in each of {SHARDS:,} shards",
        f"a shard's ids last {2**bounds.LOCAL_ID_BITS / YEAR * SHARDS:.0f} years",
        f"{MESSAGES:,} messages of each world",
        f"Every tenth message goes to a group, of {WORLDS[-1].members} members",
        f"up to {COSTS.batch_rows_most} rows",
        f"A server sees {RATE / WORLDS[-1].servers:.0f} messages a second",
    ],
)
def test_numbers_of_the_page_are_those_of_the_code(sentence: str) -> None:
    assert sentence in PAGE.read_text()


def test_the_page_concludes_what_the_simulation_shows() -> None:
    notify, each, writer, paced = (simulate(world, COSTS) for world in WORLDS[-4:])
    assert notify.bus_cores > 900_000
    assert each.bus_cores / each.database_cores == pytest.approx(0.1, abs=0.02)
    assert each.rows == pytest.approx(1, abs=0.01)
    assert each.busiest_database == pytest.approx(7, abs=0.5)
    assert writer.database_cores / each.database_cores == pytest.approx(1 / 8, rel=0.1)
    assert paced.database_cores / each.database_cores == pytest.approx(1 / 12, rel=0.1)
    assert each.server_cores / WORLDS[-1].servers == pytest.approx(0.01, abs=0.004)
    together = (paced.database_cores + paced.bus_cores) / (each.database_cores + each.bus_cores)
    assert together == pytest.approx(0.5, abs=0.05)


def test_costs_that_the_code_decides_are_the_code_s() -> None:
    assert COSTS.batch_rows_most == BATCH_ROWS
    assert SHARDS == bounds.LAST_SHARD + 1
