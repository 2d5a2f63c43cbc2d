"""Figures to compare between runs: ratios of values measured in one run, and a few figures with a target. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OURS = "ChatCluster"
COMPARED_RATE = 1000
PEERS = ("ejabberd", "Prosody", "Synapse")


def ratios(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float | None]:
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
        "durable_per_second": ours,
        "pgbench_per_second": None if inserts is None else round(inserts),
    }
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def _with_receipts(parts: Mapping[str, Sequence[Mapping[str, Any]]], inserts: float | None) -> dict[str, float | None]:
    most, at_1000, half = parts.get("receipts") or (None, None, None)
    return {
        "durable_with_receipts_vs_pgbench": _ratio(_value(most, "messages/s"), inserts),
        "p99_ms_at_1000_with_receipts": _value(at_1000, "delivered", "p99"),
        "p99_ms_at_half_rate_with_receipts": _value(half, "delivered", "p99"),
    }


def _chat_alone(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float | None]:
    storm = next(iter(parts.get("herd", ())), None)
    chain = next(iter(reversed(parts.get("chain", ()))), None)
    servers, stored = parts.get("servers", ()), parts.get("stored", ())
    return {
        "herd_all_synced_seconds": _value(storm, "all synced s"),
        "herd_steady_p99_ms": _value(storm, "steady users' ms", "p99"),
        "chain_connections": _value(chain, "connections"),
        "chain_p99_ms_with_all_connections": _value(chain, "delivered", "p99"),
        **{
            f"durable_{row['servers']}_servers_vs_1": _ratio(row["messages/s"], servers[0]["messages/s"])
            for row in servers[1:]
        },
        "p50_most_stored_vs_least": _ends(stored, "p50"),
        "p99_most_stored_vs_least": _ends(stored, "p99"),
    }


def _ends(rows: Sequence[Mapping[str, Any]], place: str) -> float | None:
    if len(rows) < 2:  # noqa: PLR2004 - two ends
        return None
    return _ratio(rows[-1]["delivered at 1,000/s"][place], rows[0]["delivered at 1,000/s"][place])


def _best(rows: Sequence[Mapping[str, Any]], subject: str) -> float | None:
    return max((row["messages/s"] for row in rows if row["subject"] == subject), default=None)


def _at(rows: Sequence[Mapping[str, Any]], subject: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["subject"] == subject and row["rate"] == COMPARED_RATE), None)


def _kib(parts: Mapping[str, Sequence[Mapping[str, Any]]], subject: str) -> float | None:
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
