"""What each lane of the tests cost and found, as files, and the table that ``python -m tests.support.lanes`` prints."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.support.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDER = Path(".local/lanes")
"""Below the root of the tree. `make test` empties it first."""

FOLDERS = {"integration": ("tests/integration", "tests/soak"), "e2e": ("tests/e2e", "tests/localcluster")}
"""Where the lanes look for tests with a mark; `INTEGRATION` and `E2E` in the Makefile."""

SHARED = "what ends with the last test"
"""In the place of a file: processes that many tests have used, such as an API server."""

MOST_FILES = 12
"""Files that are listed with what they cost."""

BEGUN = FOLDER / "begun"
"""A copy of `/proc/stat`, which `make test` makes when it begins."""

COLUMNS = ("lane", "Python", "seconds", "CPU s", "passed", "failed", "skipped", "run again")


class Lane(msgspec.Struct, frozen=True):
    """One run of pytest.

    Attributes:
        name: as in the Makefile, such as `e2e-chat`.
        python: version of the interpreter.
        seconds: from pytest's start to its end.
        cpu_seconds: of pytest and of each process that it waited for: what a cluster's containers cost is not in it.
        passed: number of tests; so are the next.
        failed: with those whose fixtures failed.
        skipped: each for a committed reason.
        rerun: failed once, and were run again.
        failures: `node id: what it raised`, a line each.
        files: seconds of CPU by the path of a file, of its tests and of the processes that they waited for.
    """

    name: str
    python: str
    seconds: float
    cpu_seconds: float
    passed: int
    failed: int
    skipped: int
    rerun: int
    failures: tuple[str, ...] = ()
    files: dict[str, float] = {}


def cpu_seconds() -> float:
    """Seconds of CPU that this process and those that it waited for, theirs too, have taken so far."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def machine_seconds(begun: str, ended: str) -> tuple[float, float]:
    """Seconds of CPU that all processes of the machine took, and seconds in which a core had nothing to do.

    Args:
        begun: an earlier content of `/proc/stat`.
        ended: a later one.
    """
    first, last = ([int(field) for field in text.split("\n", 1)[0].split()[1:]] for text in (begun, ended))
    user, nice, system, idle, waiting, *interrupts = (after - before for before, after in zip(first, last, strict=True))
    ticks = os.sysconf("SC_CLK_TCK")
    # Of the others the last two are guests, who are users too; before them is what other machines took.
    return (user + nice + system + sum(interrupts[:2])) / ticks, (idle + waiting) / ticks


def uncollected(test: str, marks: Iterable[str]) -> str | None:
    """Why no lane runs a test with these marks, such as `tests/client/test_a.py::test_b`; None where one does."""
    for mark in marks:
        folders = FOLDERS.get(mark, ("tests",))
        if not test.startswith(tuple(f"{folder}/" for folder in folders)):
            return f"{test} has the mark {mark}, which no lane looks for there; move it to {' or '.join(folders)}"
    return None


def write(folder: Path, lane: Lane, findings: Iterable[Finding]) -> None:
    """Keep a lane's result, and beside it what it found, an object a line."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{lane.name}.json").write_bytes(msgspec.json.encode(lane) + b"\n")
    findings_file(folder, lane.name).write_bytes(msgspec.json.Encoder().encode_lines(findings))


def findings_file(folder: Path, name: str) -> Path:
    """Return the path of a lane's findings."""
    return folder / f"{name}.findings.jsonl"


def read(folder: Path) -> list[Lane]:
    """Return all results of a folder, the slowest first."""
    lanes = [msgspec.json.decode(path.read_bytes(), type=Lane) for path in folder.glob("*.json")]
    return sorted(lanes, key=lambda lane: -lane.seconds)


def read_findings(path: Path) -> list[Finding]:
    """Return what a lane found."""
    return msgspec.json.Decoder(Finding).decode_lines(path.read_bytes())


def table(lanes: Sequence[Lane]) -> str:
    """Return the results as lines of columns."""
    rows = [COLUMNS] + [
        (
            *(lane.name, lane.python, f"{lane.seconds:.0f}", f"{lane.cpu_seconds:.0f}"),
            *map(str, (lane.passed, lane.failed, lane.skipped, lane.rerun)),
        )
        for lane in lanes
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def dearest(lanes: Sequence[Lane]) -> list[str]:
    """Return a line for each of the files whose tests took the most CPU: `123 s tests/test_a.py (unit)`."""
    files = sorted(((cost, path, lane.name) for lane in lanes for path, cost in lane.files.items()), reverse=True)
    return [f"{cost:.0f} s {path} ({name})" for cost, path, name in files[:MOST_FILES]]


def main(arguments: Sequence[str]) -> None:
    """Print the table of the lanes that ran, the seconds of all together if they are given, and where findings are."""
    lanes = read(FOLDER)
    print(table(lanes))  # noqa: T201 - a command-line program talks to its user by print
    for seconds in arguments:
        print(f"all lanes, most of them side by side: {seconds} s")  # noqa: T201
    if BEGUN.exists():
        busy, idle = machine_seconds(BEGUN.read_text(), Path("/proc/stat").read_text())
        print(f"CPU of the whole machine meanwhile: {busy:.0f} s taken, {idle:.0f} s idle")  # noqa: T201
    print("the most CPU:", *dearest(lanes), sep="\n  ")  # noqa: T201
    for lane in lanes:
        path = findings_file(FOLDER, lane.name)
        if findings := read_findings(path):
            print(f"findings of {lane.name}: {path} ({len(findings)}; {lane.rerun} of tests that were run again)")  # noqa: T201
    # Last, since the end of a long output is what everybody reads.
    for lane in lanes:
        for failure in lane.failures:
            print(f"failed in {lane.name}: {failure}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
