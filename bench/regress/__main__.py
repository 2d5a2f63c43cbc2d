"""``python -m bench.regress``: counts what the hot path costs, and fails where it costs a fifth more than was accepted.

Nothing is timed: a busy machine counts the same as an idle one, so that CI can run it.
"""

from __future__ import annotations

import argparse
import sys

from bench.regress.baseline import Baseline, report
from bench.regress.measure import running
from bench.regress.works import WORKS


def main() -> int:
    """Count, compare and print; returns 1 if a change must be fixed or accepted."""
    parser = argparse.ArgumentParser(prog="python -m bench.regress", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="make what is counted now the baseline")
    options = parser.parse_args()
    with running() as bench:
        now = Baseline.of({work.name: bench.count(work) for work in WORKS}, bench.counted_with())
    text, failed = report(Baseline.read(), now)
    print(text)
    if options.accept:
        now.write()
        return 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
