"""Tables and ages as kubectl prints them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))
"""Seconds, and the letter: 90 s are `1m`, as in kubectl's own tables."""

GAP = "   "
NOTHING = "-"


def age(since: dt.datetime | None, now: dt.datetime) -> str:
    """How long ago that was; `-` for never.

    Example:
        90 s ago is `1m`, two days ago `2d`.
    """
    if since is None:
        return NOTHING
    seconds = max(0, int((now - since).total_seconds()))
    for size, letter in UNITS:
        if seconds >= size:
            return f"{seconds // size}{letter}"
    return f"{seconds}s"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], indent: str = "  ") -> list[str]:
    """Lines with columns of equal width; the last column is as long as it is."""
    cells = [list(head), *([NOTHING if cell in ("", None) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        indent + GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
