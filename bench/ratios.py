"""Figures to compare between runs: ratios of values measured in one run, and a few figures with a target. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.builds import OLD_COMMIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Parts = Mapping[str, Sequence[Mapping[str, Any]]]

OURS = "ChatCluster"
COMPARED_RATE = 1000
PEERS = ("ejabberd", "Prosody", "Synapse")
BUSES = {"Valkey": "", "PostgreSQL": "_postgresql"}
"""Endings of the ratios of several servers by their bus."""


def ratios(parts: Parts) -> dict[str, float | None]:
    """Return the ratios of a run; None for parts that were not measured.

    Args:
        parts: rows by the name of their scenario, as `bench.__main__` names them.
    """
    most, latency = parts.get("most", ()), parts.get("latency", ())
    ours = _best(most, OURS)
    inserts = max((row["per_second"] for row in parts.get("inserts", ())), default=None)
    commit = next(iter(parts.get("commits", ())), None)
    half = next((row for row in latency if row["subject"] == OURS and row.get("half")), None)
    our_1000, their_1000 = _at(latency, OURS), _at(latency, "ejabberd")
    found = {
        "durable_vs_pgbench": _ratio(ours, inserts),
        **{f"durable_vs_{peer.lower()}": _ratio(ours, _best(most, peer)) for peer in PEERS},
        "p50_vs_ejabberd_at_1000": _ratio(_value(our_1000, "delivered", "p50"), _value(their_1000, "delivered", "p50")),
        "p99_vs_ejabberd_at_1000": _ratio(_value(our_1000, "delivered", "p99"), _value(their_1000, "delivered", "p99")),
        "p50_ms_at_half_rate": _value(half, "delivered", "p50"),
        "p99_ms_at_half_rate": _value(half, "delivered", "p99"),
        "p50_ms_at_half_rate_above_bare_commit": _difference(
            _value(half, "delivered", "p50"), _value(commit, "ms", "p50")
        ),
        "p99_at_half_rate_vs_bare_commit": _ratio(_value(half, "delivered", "p99"), _value(commit, "ms", "p99")),
        "kib_per_idle_connection": _kib(parts, OURS),
        **{f"kib_per_idle_connection_{peer.lower()}": _kib(parts, peer) for peer in PEERS},
        **_with_receipts(parts, inserts),
        **_chat_alone(parts),
        **_beside_old(parts),
        **{name + ending: value for bus, ending in BUSES.items() for name, value in _servers(parts, bus).items()},
        "durable_per_second": ours,
        "pgbench_per_second": None if inserts is None else round(inserts),
    }
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def _with_receipts(parts: Parts, inserts: float | None) -> dict[str, float | None]:
    most, at_1000, half = parts.get("receipts") or (None, None, None)
    return {
        "durable_with_receipts_vs_pgbench": _ratio(_value(most, "messages/s"), inserts),
        "p99_ms_at_1000_with_receipts": _value(at_1000, "delivered", "p99"),
        "p99_ms_at_half_rate_with_receipts": _value(half, "delivered", "p99"),
    }


def _chat_alone(parts: Parts) -> dict[str, float | None]:
    storm = next(iter(parts.get("herd", ())), None)
    chain = next(iter(reversed(parts.get("chain", ()))), None)
    stored = parts.get("stored", ())
    return {
        "herd_all_synced_seconds": _value(storm, "all synced s"),
        "herd_steady_p99_ms": _value(storm, "steady users' ms", "p99"),
        "chain_connections": _value(chain, "connections"),
        "chain_p99_ms_with_all_connections": _value(chain, "delivered", "p99"),
        "p50_most_stored_vs_least": _ends(stored, "p50"),
        "p99_most_stored_vs_least": _ends(stored, "p99"),
    }


def _beside_old(parts: Parts) -> dict[str, float | None]:
    """Return the ratios of one server of this commit to one of the old commit."""
    now, old = _of(parts, "servers"), _old(parts, "servers")
    most, old_most = _of(parts, "servers most"), _old(parts, "servers most")
    half, old_half = _of(parts, "servers half"), _old(parts, "servers half")
    inserts = max((row["per_second"] for row in parts.get("servers inserts", ())), default=None)
    return {
        "cpu_at_1000_vs_old": _ratio(_cpu(now), _cpu(old)),
        "p50_ms_at_1000_above_old": _difference(_value(now, "delivered", "p50"), _value(old, "delivered", "p50")),
        "p99_at_half_rate_vs_old": _ratio(_value(half, "delivered", "p99"), _value(old_half, "delivered", "p99")),
        "server_cpu_at_most_vs_old": _ratio(_value(most, "cpu us", "server"), _value(old_most, "cpu us", "server")),
        "durable_vs_old": _ratio(_value(most, "messages/s"), _value(old_most, "messages/s")),
        "durable_vs_pgbench_in_turns": _ratio(_value(most, "messages/s"), inserts),
    }


def _servers(parts: Parts, bus: str) -> dict[str, float | None]:
    """Return the ratios of several servers with a bus to one."""
    rows = {servers: _of(parts, "servers", bus, servers) for servers in (4, 16, 64)}
    most = {servers: _value(_of(parts, "servers most", bus, servers), "messages/s") for servers in (1, 2, 4)}
    return {
        "cpu_at_1000_4_servers_vs_old_1": _ratio(_cpu(rows[4]), _cpu(_old(parts, "servers"))),
        "cpu_at_1000_64_servers_vs_16": _ratio(_cpu(rows[64]), _cpu(rows[16])),
        "cpu_at_1000_64_servers_vs_16_above_idle": _ratio(_cpu(rows[64], "above idle"), _cpu(rows[16], "above idle")),
        "per_second_at_1000_64_servers": _value(rows[64], "messages/s"),
        "p99_ms_at_1000_64_servers": _value(rows[64], "delivered", "p99"),
        "durable_2_servers_vs_1": _ratio(most[2], most[1]),
        "durable_4_servers_vs_1": _ratio(most[4], most[1]),
    }


def _of(parts: Parts, part: str, bus: str = "PostgreSQL", servers: int = 1) -> Mapping[str, Any] | None:
    rows = (row for row in parts.get(part, ()) if row["chatserver"] != OLD_COMMIT)
    return next((row for row in rows if (row["bus"], row["servers"]) == (bus, servers)), None)


def _old(parts: Parts, part: str) -> Mapping[str, Any] | None:
    return next((row for row in parts.get(part, ()) if row["chatserver"] == OLD_COMMIT), None)


def _cpu(row: Mapping[str, Any] | None, which: str = "without generator") -> float | None:
    return _value(row, "cpu us", which)


def _ends(rows: Sequence[Mapping[str, Any]], place: str) -> float | None:
    if len(rows) < 2:  # noqa: PLR2004 - two ends
        return None
    return _ratio(rows[-1]["delivered at 1,000/s"][place], rows[0]["delivered at 1,000/s"][place])


def _best(rows: Sequence[Mapping[str, Any]], subject: str) -> float | None:
    return max((row["messages/s"] for row in rows if row["subject"] == subject), default=None)


def _at(rows: Sequence[Mapping[str, Any]], subject: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["subject"] == subject and row["rate"] == COMPARED_RATE), None)


def _kib(parts: Parts, subject: str) -> float | None:
    """Return the memory per connection at the largest number of connections."""
    mine = [row for row in parts.get("memory", ()) if row["subject"] == subject]
    return mine[-1]["KiB each"] if mine else None


def _value(row: Mapping[str, Any] | None, *path: str) -> float | None:
    value: Any = row
    for name in path:
        if value is None:
            return None
        value = value.get(name)
    return None if value is None else float(value)


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _difference(one: float | None, other: float | None) -> float | None:
    return one - other if one is not None and other is not None else None
