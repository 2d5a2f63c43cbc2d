"""The report of a run: Markdown, and the plots that it shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import plots
from bench.builds import OLD_COMMIT
from bench.ratios import OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TITLES = {
    "inserts": "The physical limit: pgbench, durable single-row inserts",
    "commits": "The physical limit: bare commits, one after the other on one connection",
    "memory": "A: memory of idle connections that are signed in",
    "most": "C: most durable messages a second",
    "latency": "B: latency at fixed rates",
    "receipts": "B and C with recipients' receipts",
    "herd": "D: thousands reconnect at once",
    "groups": "E: large groups",
    "rest": "F: sends by REST",
    "first sync": "G: the first sync of a new device",
    "chain": "H: the whole chain",
    "servers": "I: more server processes, at 1,000/s",
    "servers most": "I: most durable messages a second of more server processes",
    "servers half": "I: one server at half of its most",
    "servers inserts": "I: pgbench in the same turns",
    "stored": "I: more stored messages",
}
"""Titles of the parts, in the order of the report."""


def render(figures: Mapping[str, Any]) -> str:
    """Return the report of the figures of one run."""
    machine, parts = figures["machine"], figures["parts"]
    lines = [
        "# Benchmark",
        "",
        f"{figures['at']}, commit {figures['commit']}, `{figures['command']}`, {figures['minutes']} minutes.",
        "[How it is measured](README.md).",
        "",
        *(f"- {name}: {value}" for name, value in machine.items()),
        f"- PostgreSQL's settings: `{'`, `'.join(figures['settings'])}`",
        *(f"- not measured: {name}: {reason}" for name, reason in figures["skipped"].items()),
        *(f"- FAILED: {name}: {reason}" for name, reason in figures["failed"].items()),
        "",
        "Server, database, proxy and generator share the CPUs. Ratios are of values measured in this one run;",
        "do not compare absolute figures with other runs. Times are in milliseconds unless a name says otherwise.",
        "",
        "| ratio | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in figures["ratios"].items() if value is not None),
        "",
        *_not_measured(figures["ratios"]),
        *(f"![{name}]({name}.svg)" for name in drawings(parts)),
    ]
    for part, title in TITLES.items():
        if part in parts:
            lines += ["", f"## {title}", "", *_tables(parts[part])]
    return "\n".join(lines).rstrip() + "\n"


def _not_measured(ratios: Mapping[str, float | None]) -> list[str]:
    names = [f"`{name}`" for name, value in ratios.items() if value is None]
    return [f"Not measured in this run: {', '.join(names)}.", ""] if names else []


def drawings(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Return the plots of a run as {name: SVG document}; parts that were not measured have none."""
    found = {}
    most = _best_rows(parts)
    if most:
        per_second = {"pgbench, single rows": {"": max(row["per_second"] for row in parts.get("inserts", ()))}} if (
            parts.get("inserts")
        ) else {}  # fmt: skip
        per_second |= {name: {"": row["messages/s"]} for name, row in most.items()}
        found["throughput"] = plots.bars("Durable messages a second (logarithmic)", per_second, logarithmic=True)
        found["cpu"] = plots.bars(
            "CPU microseconds per message, server and database (logarithmic)",
            {name: {"": row["cpu us"]["server"] + row["cpu us"]["database"]} for name, row in most.items()},
            logarithmic=True,
        )
    latency = {
        f"{name} {place}": [(row["rate"], row["delivered"][place]) for row in rows]
        for name, rows in _by_subject(parts.get("latency", ())).items()
        if len(rows) > 1
        for place in ("p50", "p99")
    }
    if latency:
        found["latency"] = plots.lines("Milliseconds from due to delivered", "messages a second", latency)
    memory = {
        f"{name}, {rows[-1]['connections']:,}": {"": rows[-1]["KiB each"]}
        for name, rows in _by_subject(parts.get("memory", ())).items()
    }
    if memory:
        found["memory"] = plots.bars("KiB of server memory an idle connection", memory)
    cost = _cost_lines(parts.get("servers", ()))
    if cost:
        found["servers"] = plots.lines(
            "CPU microseconds per message at 1,000/s: server, database and bus", "server processes", cost
        )
    return found


def _cost_lines(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return the cost over the number of servers, of the old one and by bus, there also without that of idle ones."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        servers, cpu = row["servers"], row["cpu us"]
        if row["chatserver"] == OLD_COMMIT:
            found[f"one server of {OLD_COMMIT}"] = [(servers, cpu["without generator"])]
            continue
        found.setdefault(row["bus"], []).append((servers, cpu["without generator"]))
        found.setdefault(f"{row['bus']}, above idle", []).append((servers, max(1, cpu["above idle"])))
    return found


def _best_rows(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    by_subject = _by_subject(parts.get("most", ()))
    return {
        name: max(by_subject[name], key=lambda row: float(row["messages/s"]))
        for name in (OURS, *PEERS)
        if name in by_subject
    }


def _by_subject(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["subject"], []).append(row)
    return found


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in map(_flat, rows):
        groups.setdefault(tuple(row), []).append(row)
    for titles, group in groups.items():
        lines += [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
        lines += [f"| {' | '.join(_cell(row[title]) for title in titles)} |" for row in group]
        lines.append("")
    return lines


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without nested dictionaries: `acked: {p50: 1}` becomes `acked p50: 1`."""
    flat: dict[str, Any] = {}
    for title, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{title} {inner}": value[inner] for inner in value}
        elif not isinstance(value, bool):
            flat[title] = value
    return flat


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
