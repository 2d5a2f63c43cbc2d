"""The counts that were accepted last, a file of the repository, and what stands beside them now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from bench.regress.compare import compared, kept, table
from bench.regress.works import WORKS

if TYPE_CHECKING:
    from bench.regress.compare import Counts

PATH = Path(__file__).with_name("baseline.json")


class Baseline(msgspec.Struct, frozen=True):
    """Counts of one run, as they are kept.

    Attributes:
        counted_with: what counts depend on beside the code: name -> version.
        counts: of one unit each: work -> count -> value.
    """

    counted_with: dict[str, str]
    counts: dict[str, dict[str, float]]

    @classmethod
    def of(cls, counts: Counts, counted_with: dict[str, str]) -> Self:
        """Return what is worth keeping of a run."""
        return cls(counted_with, kept(counts))

    @classmethod
    def read(cls, path: Path = PATH) -> Self:
        """Return the baseline; one without counts, beside which everything is new, if there is no file."""
        return msgspec.json.decode(path.read_bytes(), type=cls) if path.exists() else cls({}, {})

    def write(self, path: Path = PATH) -> None:
        """Make it the baseline."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def report(baseline: Baseline, now: Baseline) -> tuple[str, bool]:
    """Return the comparison as text, and whether it fails."""
    changed = {
        name: (was, now.counted_with.get(name))
        for name, was in baseline.counted_with.items()
        if was != now.counted_with.get(name)
    }
    rows = compared(baseline.counts, now.counts, {work.name: work.units for work in WORKS}, changed)
    lines = [table(rows), ""]
    lines += [
        f"{name} was {was} and is {is_now}: what depends on it is not judged."
        for name, (was, is_now) in changed.items()
    ]
    failed = [row for row in rows if row.fails]
    lines += [f"{row.verdict}: {row.count} of a {row.work}" for row in failed]
    if any(row.verdict == "gain" for row in rows):
        lines.append("There are gains; accept them, or a later loss of as much is not seen.")
    if any(row.verdict for row in rows):
        lines.append(
            "To accept what is counted now: make bench-regress ACCEPT=1, and commit the baseline with the reason."
        )
    return "\n".join(lines), bool(failed)
