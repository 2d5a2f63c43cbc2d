"""The report of a run, in Markdown."""

from __future__ import annotations

from typing import Any


def render(figures: dict[str, Any]) -> str:
    """Return the report of the figures of one run."""
    machine = figures["machine"]
    lines = [
        "# Benchmark",
        "",
        f"{figures['at']}, commit {figures['commit']}: {machine['processors']}, Python {machine['python']},",
        f"PostgreSQL {machine['postgresql']}. Made by `make bench`;",
        "server, database and generator share the processors.",
        "Ratios are of things measured in this one run; compare absolute figures with nothing else.",
        "",
        f"PostgreSQL: `{'`, `'.join(figures['settings'])}`. Times in milliseconds unless a name says otherwise.",
        "",
        "| ratio | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in figures["ratios"].items()),
    ]
    for name, rows in figures["parts"].items():
        lines += ["", f"## {name.capitalize()}", ""]
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in map(_flat, rows):
            groups.setdefault(tuple(row), []).append(row)
        for titles, group in groups.items():
            lines += [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
            lines += [f"| {' | '.join(_cell(row[title]) for title in titles)} |" for row in group]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without nested ones: `acked: {p50: 1}` becomes `acked p50: 1`."""
    flat: dict[str, Any] = {}
    for title, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{title} {inner}": value[inner] for inner in value}
        else:
            flat[title] = value
    return flat


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
