"""Writes the tables of docs/operations/conditions.md from chatoperator.conditions: `make docs`. A test checks them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chatoperator.conditions import TYPES
from chatoperator.conditions.declared import Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chatoperator.conditions.declared import ConditionType, Reason

PAGE = Path(__file__).parents[1] / "docs" / "operations" / "conditions.md"

BEGIN, END = "<!-- begin: made by `make docs`", "<!-- end -->\n"
"""Around what is generated; the rest of the page is written by hand."""

COLUMNS = ("reason", "status", "Event", "meaning and remedy")


def render(page: str, types: Sequence[ConditionType] = TYPES) -> str:
    """The page with its tables made again.

    Args:
        page: As it is now.
        types: All condition types, in the order of the page.

    Raises:
        ValueError: The page lacks the marks between which the tables are.
    """
    begin = page.index("\n", page.index(BEGIN)) + 1
    end = page.index(END, begin)
    return page[:begin] + "\n".join(part for kind in types for part in _section(kind)) + "\n" + page[end:]


def _section(kind: ConditionType) -> Iterator[str]:
    yield f"\n### {kind.name}\n\n{kind.summary}\n"
    for line in (COLUMNS, tuple("---" for _ in COLUMNS), *_rows(kind)):
        yield f"| {' | '.join(line)} |"


def _rows(kind: ConditionType) -> Iterator[tuple[str, ...]]:
    for reason in kind.reasons:
        yield f"`{reason.name}`", " or ".join(reason.statuses), _event(kind, reason), reason.meaning.replace("|", "\\|")
    if kind.passes_on:
        names = ", ".join(f"`{other.name}`" for other in kind.passes_on)
        yield "another", kind.bad, "as there", f"The reason of the first of {names} that is not True"


def _event(kind: ConditionType, reason: Reason) -> str:
    """The type of the Event, for each status where that makes a difference."""
    if reason.level is Level.FIGURE or reason.statuses == ("Unknown",):
        return ""
    return " or ".join(dict.fromkeys(kind.event_types(reason)))


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(PAGE.read_text()))


if __name__ == "__main__":
    main()
