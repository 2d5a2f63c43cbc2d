"""``python -m bench``: runs the scenarios, and writes a report and the ratios to compare between runs.

``python -m bench simulate`` prints the tables of docs/scale-out.md instead.

Absolute figures are noise on a machine that does other work too. The ratios are of things measured in one run.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

from bench import builds
from bench.peers import programs
from bench.plan import PARTS, Plan
from bench.report import drawings, render
from bench.simulation.costs import Costs
from bench.simulation.report import load, standing
from bench.sizes import QUICK, SMOKE, Sizes

ROOT = Path(__file__).parents[1]
LATEST = ROOT / ".local" / "bench" / "latest.json"
REPORTS = ROOT / "docs" / "benchmarks"


def main() -> int:
    """Measure, write the report and print the ratios; returns 1 if a part failed."""
    options = _options()
    if options.command == "simulate":
        print(f"{load(Costs())}\n\n{standing(Costs())}")
        return 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.fetch or (not options.no_peers and "compare" in options.only and _may_fetch()):
        for failure in programs.fetch():
            print(f"not to be had: {failure}", file=sys.stderr)
    if options.fetch:
        return 0 if builds.installed() and not programs.missing() else 1
    sizes = {"quick": QUICK, "smoke": SMOKE}.get(options.size, Sizes())
    plan = Plan(sizes, peers=not options.no_peers, only=options.only)
    figures = plan.run(" ".join(["python -m bench", *sys.argv[1:]]))
    _write(figures, options.output or REPORTS, LATEST if options.output is None else options.output / "latest.json")
    print(json.dumps(figures["ratios"], indent=2))
    return 1 if figures["failed"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "command", nargs="?", choices=("simulate",), help="no measurement: what a chat of any size would cost"
    )
    parser.add_argument(
        "--size", choices=("full", "quick", "smoke"), default="full", help="quick: all parts in under 15 minutes"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--no-peers", action="store_true", help="measure only our chat")
    parser.add_argument(
        "--fetch",
        action="store_true",
        help="make what a run needs (the peers, the old and the compiled chatserver) and exit",
    )
    parser.add_argument("--output", type=Path, help="folder of the report (default: docs/benchmarks and .local/bench)")
    return parser.parse_args()


def _may_fetch() -> bool:
    """Return whether to download the peers' programs; at a terminal the user confirms the 100 MB first."""
    missing = programs.missing()
    if not missing or not sys.stdin.isatty():
        return bool(missing)
    print(f"The peers need {'; '.join(missing)}: about 100 MB, unpacked below the cache, not installed.")
    return input("Download it? [Y/n] ").strip().lower() in {"", "y", "yes"}


def _write(figures: dict[str, object], folder: Path, latest: Path) -> None:
    for target in (folder, latest.parent):
        target.mkdir(parents=True, exist_ok=True)
    latest.write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "latest.md").write_text(render(figures))
    parts = figures["parts"]
    if isinstance(parts, dict):
        for name, drawing in drawings(parts).items():
            (folder / f"{name}.svg").write_text(drawing)


if __name__ == "__main__":
    sys.exit(main())
