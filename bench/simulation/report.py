"""The worlds that are simulated, and their figures as a table. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.simulation.world import World, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.simulation.costs import Costs

DAY = 60e9
"""Messages a day of the largest chat: 694,444 a second."""

RATE = DAY / 86_400

WORLDS: Sequence[World] = (
    World("one server", 1, 1, 1000, "NOTIFY"),
    World("4 servers", 4, 1, 1000, "NOTIFY"),
    World("4 servers", 4, 1, 1000, "Valkey"),
    World("64 servers", 64, 1, 1000, "NOTIFY"),
    World("64 servers", 64, 1, 1000, "Valkey"),
    World("64 servers, 10,000/s", 64, 1, 10_000, "Valkey"),
    World("50,000 servers", 50_000, 70, RATE, "NOTIFY"),
    World("50,000 servers", 50_000, 70, RATE, "Valkey"),
    World("50,000 servers, 1 writer a database", 50_000, 70, RATE, "Valkey", has_writers=True),
    World("the same, paced 4 ms", 50_000, 70, RATE, "Valkey", has_writers=True, pace_milliseconds=4),
)

CONNECTIONS_A_SERVER = 9
"""To a database: the default pool of a server, and the connection that listens."""

RECONNECT_SECONDS = 3600

WHOLE = 100
"""From here on figures have no decimals."""

COLUMNS = (
    "world",
    "bus",
    "messages/s",
    "rows a batch",
    "batches/s, busiest database",
    "hints a message",
    "database us a message",
    "database cores",
    "busiest database, cores",
    "server cores",
    "bus cores",
    "proxy cores",
    "WAL MB/s",
)


def load(costs: Costs, worlds: Sequence[World] = WORLDS) -> str:
    """Return what messages cost in each world, as a table in Markdown."""
    return _table(COLUMNS, (_cells(world, costs) for world in worlds))


def standing(costs: Costs, world: World = WORLDS[-1]) -> str:
    """Return what a world needs before anybody sends a message, as a table in Markdown."""
    connections = world.servers * world.connections
    server_cpu, database_cpu, proxy_cpu = (cpu * connections / RECONNECT_SECONDS / 1e6 for cpu in costs.handshake_cpu)
    direct = world.servers * CONNECTIONS_A_SERVER
    rows = {
        "connections of clients": f"{connections:,}",
        "memory of the servers for them": f"{connections * costs.server_kib / 2**30:,.1f} TiB",
        "HAProxy processes": f"{connections / costs.proxy_connections:,.0f}",
        "memory of HAProxy": f"{connections * costs.proxy_kib / 2**30:,.1f} TiB",
        "connections to each database, if each server has its pool there": f"{direct:,}",
        "the same with a writer for each database, and reads through it": f"{CONNECTIONS_A_SERVER:,}",
        "users in the registry of the bus": f"{connections:,}",
        "cores while all reconnect within an hour: servers": f"{server_cpu:,.0f}",
        "databases": f"{database_cpu:,.0f}",
        "proxies": f"{proxy_cpu:,.0f}",
    }
    return _table(("what", "how much"), rows.items())


def _cells(world: World, costs: Costs) -> Sequence[str]:
    outcome = simulate(world, costs)
    return (
        world.name,
        world.bus,
        f"{world.messages_per_second:,.0f}",
        f"{outcome.rows:.1f}",
        f"{outcome.batches_per_second:,.0f}",
        f"{outcome.hints:.2f}",
        f"{outcome.database_cpu:,.0f}",
        *(
            f"{figure:,.{0 if figure >= WHOLE else 1}f}"
            for figure in (
                outcome.database_cores,
                outcome.busiest_database,
                outcome.server_cores,
                outcome.bus_cores,
                outcome.proxy_cores,
                outcome.wal_megabytes,
            )
        ),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([_row(columns), _row("---" for _ in columns), *map(_row, rows)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
