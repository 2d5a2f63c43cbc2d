"""Ratios, and the report that shows them."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

from bench import plots
from bench.ratios import ratios
from bench.report import drawings, render


def times(p50: float, p99: float) -> dict[str, float]:
    return {"p50": p50, "p99": p99, "p99.9": p99, "max": p99}


def most(subject: str, per_second: int) -> dict[str, Any]:
    return {"subject": subject, "messages/s": per_second, "cpu us": {"server": 40, "database": 60, "generator": 9}}


def latency(subject: str, rate: int, p50: float, p99: float, **more: object) -> dict[str, Any]:
    return {"subject": subject, "rate": rate, "acked": times(1, 1), "delivered": times(p50, p99), **more}


def servers(
    chatserver: str, bus: str, count: int, *, per_second: int = 1000, cpu: int = 100, p50: float = 1.0, p99: float = 9.0
) -> dict[str, Any]:
    costs = {"server": cpu, "database": 0, "generator": 50, "without generator": cpu, "above idle": cpu - 5 * count}
    row = {"chatserver": chatserver, "bus": bus, "servers": count, "messages/s": per_second, "cpu us": costs}
    return row | {"delivered": times(p50, p99)}


PARTS: dict[str, list[dict[str, Any]]] = {
    "inserts": [{"clients": 32, "per_second": 10_000.0}, {"clients": 64, "per_second": 12_500.4}],
    "commits": [{"commits": 9, "ms": times(1.5, 2.0)}],
    "memory": [
        {"subject": "ChatCluster", "connections": 1000, "KiB each": 30.0},
        {"subject": "ChatCluster", "connections": 10_000, "KiB each": 18.5},
        {"subject": "ejabberd", "connections": 2000, "KiB each": 56.0},
    ],
    "most": [most("ChatCluster", 20_000), most("ChatCluster", 25_000), most("ejabberd", 2500), most("Synapse", 25)],
    "latency": [
        latency("ChatCluster", 1000, 1.0, 4.0),
        latency("ChatCluster", 12_500, 3.0, 8.0, half=True),
        latency("ejabberd", 1000, 2.0, 5.0),
    ],
    "receipts": [
        {"messages/s": 10_000, "delivered": times(9, 90)},
        {"messages/s": 1000, "delivered": times(2, 6)},
        {"messages/s": 5000, "delivered": times(3, 8)},
    ],
    "chain": [{"through": "nothing", "connections": 200}, {"connections": 10_000, "delivered": times(2, 9)}],
    "servers": [
        servers("490b79d", "PostgreSQL", 1, cpu=600, p50=2.5),
        servers("compiled", "PostgreSQL", 1, cpu=300, p50=3.0),
        servers("compiled", "PostgreSQL", 4, cpu=1200),
        servers("compiled", "Valkey", 1, cpu=330),
        servers("compiled", "Valkey", 4, cpu=750),
        servers("compiled", "Valkey", 16, cpu=800),
        servers("compiled", "Valkey", 64, cpu=920, p99=40.0),
    ],
    "servers most": [
        servers("490b79d", "PostgreSQL", 1, per_second=8000, cpu=70),
        servers("compiled", "PostgreSQL", 1, per_second=10_000, cpu=49),
        servers("compiled", "PostgreSQL", 2, per_second=9000),
        servers("compiled", "Valkey", 1, per_second=10_000),
        servers("compiled", "Valkey", 2, per_second=16_000),
    ],
    "servers half": [
        servers("490b79d", "PostgreSQL", 1, p99=80.0),
        servers("compiled", "PostgreSQL", 1, p99=20.0),
        servers("compiled", "Valkey", 1, p99=30.0),
    ],
    "servers inserts": [{"clients": 32, "per_second": 7000.0}, {"clients": 64, "per_second": 8000.0}],
    "stored": [
        {"stored": 10_000, "delivered at 1,000/s": times(2, 5)},
        {"stored": 1_000_000, "delivered at 1,000/s": times(2, 6)},
    ],
}


def test_ratios_compare_the_best_of_each_in_one_run() -> None:
    found = ratios(PARTS)
    assert found["durable_vs_pgbench"] == 2.0
    assert found["durable_vs_ejabberd"] == 10.0
    assert found["durable_vs_synapse"] == 1000.0
    assert found["p50_vs_ejabberd_at_1000"] == 0.5
    assert found["p99_vs_ejabberd_at_1000"] == 0.8
    assert found["p99_ms_at_half_rate"] == 8.0
    assert found["p50_ms_at_half_rate_above_bare_commit"] == 1.5
    assert found["p99_at_half_rate_vs_bare_commit"] == 4.0
    assert found["durable_with_receipts_vs_pgbench"] == 0.8
    assert found["p99_ms_at_1000_with_receipts"] == 6.0
    assert found["p99_ms_at_half_rate_with_receipts"] == 8.0
    assert found["kib_per_idle_connection"] == 18.5
    assert found["p99_most_stored_vs_least"] == 1.2
    assert found["chain_connections"] == 10_000


def test_servers_are_compared_with_the_old_one_and_with_fewer_by_their_bus() -> None:
    found = ratios(PARTS)
    assert found["cpu_at_1000_vs_old"] == 0.5
    assert found["cpu_at_1000_4_servers_vs_old_1"] == 1.25
    assert found["cpu_at_1000_4_servers_vs_old_1_postgresql"] == 2.0
    assert found["cpu_at_1000_64_servers_vs_16"] == 1.15
    assert found["cpu_at_1000_64_servers_vs_16_above_idle"] == 0.833
    assert found["cpu_at_1000_64_servers_vs_16_postgresql"] is None
    assert found["p99_ms_at_1000_64_servers"] == 40.0
    assert found["p50_ms_at_1000_above_old"] == 0.5
    assert found["p99_at_half_rate_vs_old"] == 0.25
    assert found["server_cpu_at_most_vs_old"] == 0.7
    assert found["durable_vs_old"] == 1.25
    assert found["durable_vs_pgbench_in_turns"] == 1.25
    assert found["durable_2_servers_vs_1"] == 1.6
    assert found["durable_2_servers_vs_1_postgresql"] == 0.9


def test_what_was_not_measured_has_no_ratio() -> None:
    found = ratios(PARTS)
    assert found["durable_vs_prosody"] is None
    assert found["herd_all_synced_seconds"] is None
    nothing = ratios({})
    assert nothing.keys() >= {
        "durable_vs_pgbench",
        "durable_vs_ejabberd",
        "durable_vs_synapse",
        "p99_vs_ejabberd_at_1000",
        "p99_ms_at_half_rate",
        "kib_per_idle_connection",
    }
    assert set(nothing.values()) == {None}


def test_the_report_says_what_was_skipped_and_what_failed() -> None:
    text = render(
        {
            "at": "2026-11-25T12:00:00+00:00",
            "commit": "abc",
            "command": "python -m bench",
            "minutes": 9,
            "machine": {"processors": "2 x Fast"},
            "settings": ["fsync = on"],
            "skipped": {"Prosody": "its packages are not here"},
            "failed": {"herd": "TimeoutError: "},
            "parts": PARTS,
            "ratios": ratios(PARTS),
        }
    )
    assert "- not measured: Prosody: its packages are not here" in text
    assert "- FAILED: herd: TimeoutError" in text
    assert "| durable_vs_pgbench | 2.0 |" in text
    assert re.search("^Not measured in this run: .*`durable_vs_prosody`", text, re.MULTILINE)
    assert "| durable_vs_prosody |" not in text
    assert "![throughput](throughput.svg)" in text
    assert "| ChatCluster | 12500 |" in text


def test_every_drawing_is_a_document() -> None:
    drawn = drawings(PARTS)
    assert set(drawn) == {"throughput", "cpu", "latency", "memory", "servers"}
    for document in drawn.values():
        assert ET.fromstring(document).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - made by ourselves
    assert drawings({}) == {}


def test_bars_are_as_long_as_their_values() -> None:
    drawn = ET.fromstring(plots.bars("a & b", {"one": {"x": 50, "y": 25}, "two": {"x": 100}}))  # noqa: S314
    widths = [float(bar.get("width", 0)) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[0] == widths[2] / 2
    assert widths[1] == widths[2] / 4


def test_higher_values_are_drawn_higher() -> None:
    drawn = ET.fromstring(plots.lines("ms", "per second", {"one": [(500, 1), (1000, 10), (5000, 100)]}))  # noqa: S314
    heights = [float(dot.get("cy", 0)) for dot in drawn.iter("{http://www.w3.org/2000/svg}circle")]
    assert heights == sorted(heights, reverse=True)
    # Ten times as much is the same step everywhere.
    assert abs((heights[0] - heights[1]) - (heights[1] - heights[2])) <= 0.2


def test_the_scale_begins_and_ends_near_the_values() -> None:
    assert plots._ticks(310, 1900) == [200, 500, 1000, 2000]
    assert plots._ticks(5, 5) == [5, 10]
