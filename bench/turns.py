"""Loads subjects in turns, for several rounds, and returns the medians: other work on the machine hits all of them."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.measure import FAILURES, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Subject = TypeVar("Subject")


class Turns(Generic[Subject]):
    """The rounds of some subjects.

    Args:
        subjects: each turn has all of them, in this order and in the opposite one by turns: what drifts evens out.

    Attributes:
        failed: how subjects failed; they have no more turns.
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = tuple(subjects)
        self._turn = self._subjects
        self._rows: dict[str, dict[Subject, list[Row]]] = {}
        self.failed: dict[Subject, str] = {}

    def each(self, part: str, load: Callable[[Subject], Row | None]) -> None:
        """Load each subject once; `load` returns None for those that this part is not for."""
        rows = self._rows.setdefault(part, {subject: [] for subject in self._subjects})
        for subject in self._turn:
            if subject not in self.failed:
                try:
                    row = load(subject)
                except FAILURES as error:
                    self.failed[subject] = f"{type(error).__name__}: {error}"
                    print(f"==> {part} of {subject} FAILED: {error}", file=sys.stderr)
                else:
                    if row is not None:
                        rows[subject].append(row)
        self._turn = self._turn[::-1]

    def parts(self) -> dict[str, list[Row]]:
        """Return a row for each part and subject, with the medians of its turns."""
        return {part: [medians(turns) for turns in rows.values() if turns] for part, rows in self._rows.items()}


def medians(rows: Sequence[Row]) -> Row:
    """Return the medians of figures, nested ones too; texts are those of the first row.

    Example:
        >>> medians([{"bus": "Valkey", "ms": {"p50": 1}}, {"bus": "Valkey", "ms": {"p50": 4}}])
        {'bus': 'Valkey', 'ms': {'p50': 2.5}}
    """
    return {name: _median([row[name] for row in rows]) for name in rows[0]}


def _median(values: list[Any]) -> Any:
    match values[0]:
        case dict():
            return medians(values)
        case str():
            return values[0]
        case int():
            return round(statistics.median(values))
        case _:
            return round(statistics.median(values), 3)
