"""What was counted beside what was accepted before: which losses there are, and a table that shows them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    Counts = Mapping[str, Mapping[str, float]]
    """Of one unit each: work -> count -> value."""

TOLERANCE: Final = 0.2
"""Share by which a count may grow: a hot path that costs a fifth more is a loss to examine."""

ROUNDING: Final = 1e-6
"""Rounding error of sums of floats."""

DIGITS: Final = 4
"""Significant digits in a baseline: more would differ from run to run."""

GRAIN: Final[Mapping[str, float]] = {
    "instructions": 0.0,
    "system calls": 60.0,
    "statements": 3.0,
    "blocks": 60.0,
    "WAL bytes": 600.0,
    "frames": 1.0,
    "bytes": 400.0,
}
"""The compared counts, and by how much one run of a work may differ even if it costs little: on a slow machine a token
is looked up once more, and ids grow by a digit. One more statement per round, or byte per frame, exceeds it."""

DEPENDS_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "instructions": ("machine", "Python"),
    "system calls": ("machine", "Python"),
    "blocks": ("PostgreSQL",),
    "WAL bytes": ("PostgreSQL",),
}
"""What a count depends on besides the code; the other counts are the same in all environments."""

Verdict = Literal["", "gain", "LOSS", "NEW", "GONE", "other"]
"""Those in capitals must be accepted or fixed; other: counted in another environment, so not comparable."""


@dataclass(frozen=True, slots=True)
class Row:
    """One count of one work, before and now; None where it was not counted."""

    work: str
    count: str
    was: float | None
    now: float | None
    verdict: Verdict

    @property
    def fails(self) -> bool:
        """Whether it must be accepted or fixed."""
        return self.verdict.isupper()


def kept(counts: Counts) -> dict[str, dict[str, float]]:
    """Return counts as a baseline keeps them: those that are compared, rounded.

    Example:
        >>> kept({"message": {"instructions": 1186432.0, "statements": 2.0, "seconds": 0.4}})
        {'message': {'instructions': 1186000.0, 'statements': 2.0}}
    """
    return {
        work: {name: float(f"{value:.{DIGITS}g}") for name, value in values.items() if name in GRAIN}
        for work, values in counts.items()
    }


def compared(baseline: Counts, counts: Counts, units: Mapping[str, int], changed: Collection[str] = ()) -> list[Row]:
    """Return a row for each count of either.

    Args:
        baseline: what was accepted.
        counts: what is counted now.
        units: of each work in one go.
        changed: what is another one than the baseline's, of those in `DEPENDS_ON`.

    Example:
        >>> now = {"message": {"bytes": 730, "frames": 2}}
        >>> [row.verdict for row in compared({"message": {"bytes": 600}}, now, {"message": 10})]
        ['LOSS', 'NEW']
    """
    rows = []
    for work in _union(counts, baseline):
        was, now = baseline.get(work, {}), counts.get(work, {})
        for name in _union(now, was):
            before, after = was.get(name), now.get(name)
            comparable = not any(thing in changed for thing in DEPENDS_ON.get(name, ()))
            verdict = (
                _judge(before, after, GRAIN.get(name, 0.0) / units.get(work, 1))
                if comparable or None in {before, after}
                else "other"
            )
            rows.append(Row(work, name, before, after, verdict))
    return rows


def _union(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _judge(was: float | None, now: float | None, grain: float) -> Verdict:
    if was is None or now is None:
        return "NEW" if was is None else "GONE"
    # Ten times a tenth is not one: a difference of exactly the grain shall pass.
    allowed = max(TOLERANCE * was, grain) * (1 + ROUNDING)
    if now - was > allowed:
        return "LOSS"
    return "gain" if was - now > allowed else ""


def table(rows: Sequence[Row]) -> str:
    """Return rows as text in columns."""
    title = "for each"
    width = max(len(title), *(len(row.work) for row in rows))
    lines = [f"{title:{width}}  {'count':12}  {'baseline':>10}  {'now':>10}  difference"]
    work = None
    for row in rows:
        name, work = ("" if row.work == work else row.work), row.work
        lines.append(
            f"{name:{width}}  {row.count:12}  {_number(row.was):>10}  {_number(row.now):>10}"
            f"  {_difference(row):>10}  {row.verdict}".rstrip()
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"  # noqa: PLR2004 - from here on decimals say nothing


def _difference(row: Row) -> str:
    if row.was is None or row.now is None or not row.was:
        return "-"
    return f"{(row.now - row.was) / row.was:+.1%}"
