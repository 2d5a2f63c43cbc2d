"""``python -m bench``: runs the scenarios, writes a report and the ratios that are worth comparing.

Absolute figures are noise on a machine that does other work too. The ratios are of things measured in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import scenarios
from bench.machine import DURABLE, running
from bench.report import render

if TYPE_CHECKING:
    from bench.scenarios import Row, Sizes

ROOT = Path(__file__).parents[1]
LATEST = ROOT / ".local" / "bench" / "latest.json"
REPORT = ROOT / "docs" / "benchmarks" / "latest.md"


def main() -> int:
    """Measure, write, print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes, with fewer steps")
    parser.add_argument("--report", action="store_true", help=f"also write {REPORT.relative_to(ROOT)}")
    options = parser.parse_args()
    figures = asyncio.run(_measure(scenarios.QUICK if options.quick else scenarios.Sizes()))
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps(figures, indent=2) + "\n")
    if options.report:
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(render(figures))
    print(json.dumps(figures["ratios"], indent=2))
    return 0


async def _measure(sizes: Sizes) -> dict[str, Any]:
    parts: dict[str, list[Row]] = {}

    def done(name: str, rows: list[Row], started: float) -> None:
        parts[name] = rows
        print(f"==> {name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        for row in rows:
            print(f"    {row}", file=sys.stderr)

    with running() as machine:
        for name, scenario in (
            ("physical limit", scenarios.physical_limit),
            ("throughput", scenarios.throughput),
            ("memory", scenarios.memory),
        ):
            started = time.monotonic()
            done(name, await scenario(machine, sizes), started)
        started = time.monotonic()
        half = max(row["messages/s"] for row in parts["throughput"]) / 2
        done("latency", await scenarios.latency(machine, sizes, (*sizes.rates, half)), started)
        version = machine.postgres.sql("SHOW server_version")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "machine": {"processors": _processors(), "python": platform.python_version(), "postgresql": version},
        "settings": DURABLE.strip().splitlines(),
        "parts": parts,
        "ratios": _ratios(parts),
    }


def _ratios(parts: dict[str, list[Row]]) -> dict[str, float]:
    inserts, commits = parts["physical limit"]
    best = max(row["messages/s"] for row in parts["throughput"])
    half = parts["latency"][-1]
    return {
        "durable_vs_pgbench": round(best / inserts["per_second"], 3),
        "durable_per_second": best,
        "pgbench_per_second": round(inserts["per_second"]),
        "p50_ms_at_half_rate": half["delivered"]["p50"],
        "p99_ms_at_half_rate": half["delivered"]["p99"],
        "p99_at_half_rate_vs_bare_commit": round(half["delivered"]["p99"] / commits["p99"], 2),
        "kib_per_idle_connection": parts["memory"][-1]["KiB each"],
    }


def _processors() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
