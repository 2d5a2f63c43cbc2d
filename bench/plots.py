"""Figures as SVG documents: horizontal bars, and lines over a rate. Pure."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, MARGIN, LABELS = 960, 48, 240
"""Pixels; LABELS is the room for the names of bars."""

BAR, GAP = 26, 12
"""Pixels of a bar and between two."""

LINES_HEIGHT = 420

COLOURS = ("#d6453d", "#4c90c0", "#6aa84f", "#b58900", "#8e63b5", "#666666")
"""Colours in the order of the series: ours first."""


def bars(title: str, values: Mapping[str, Mapping[str, float]], *, logarithmic: bool = False) -> str:
    """Draw a bar for each name, of one part after the other.

    Args:
        title: says the unit.
        values: name -> part -> value; on a logarithmic scale, where parts cannot be added, one part each.
        logarithmic: each step of the scale is ten times the one before.
    """
    parts = list(dict.fromkeys(part for bar in values.values() for part in bar))
    top = max((sum(bar.values()) for bar in values.values()), default=1) or 1
    room = WIDTH - LABELS - 2 * MARGIN - 60

    def length(value: float) -> float:
        share = math.log10(max(value, 1)) / max(1, math.log10(top)) if logarithmic else value / top
        return round(room * share, 1)

    body = []
    for row, (name, bar) in enumerate(values.items()):
        y, x = MARGIN + 16 + row * (BAR + GAP), float(LABELS)
        body.append(f'<text x="{LABELS - 8}" y="{y + 18}" text-anchor="end">{escape(name)}</text>')
        for part, value in bar.items():
            colour = COLOURS[(parts.index(part) if len(parts) > 1 else row) % len(COLOURS)]
            body.append(f'<rect x="{x}" y="{y}" width="{length(value)}" height="{BAR}" fill="{colour}"/>')
            x = round(x + length(value), 1)
        body.append(f'<text x="{x + 6}" y="{y + 18}">{_number(sum(bar.values()))}</text>')
    height = MARGIN + 16 + len(values) * (BAR + GAP) + MARGIN
    return _document(title, height, [*body, _legend(parts if len(parts) > 1 else [], height - 16)])


def lines(title: str, across: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw lines over a rate, both on logarithmic scales.

    Args:
        title: says what goes up, with its unit.
        across: says what goes to the right.
        series: name -> points, each (rate, value), both above 0.
    """
    points = [point for line in series.values() for point in line]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points))

    def place(value: float, least: float, most: float, start: float, end: float) -> float:
        share = math.log(value / least) / (math.log(most / least) or 1)
        return round(start + share * (end - start), 1)

    def x(value: float) -> float:
        return place(value, left, right, MARGIN + 30, WIDTH - MARGIN)

    def y(value: float) -> float:
        return place(value, ticks[0], ticks[-1], LINES_HEIGHT - 2 * MARGIN, MARGIN)

    body = []
    for tick in ticks:
        body.append(f'<line x1="{x(left)}" x2="{x(right)}" y1="{y(tick)}" y2="{y(tick)}" stroke="#ddd"/>')
        body.append(f'<text x="{x(left) - 8}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    bottom = LINES_HEIGHT - 2 * MARGIN + 20
    body += [
        f'<text x="{x(rate)}" y="{bottom}" text-anchor="middle">{rate:,.0f}</text>'
        for rate in sorted({rate for rate, _ in points})
    ]
    body.append(f'<text x="{WIDTH / 2}" y="{bottom + 20}" text-anchor="middle">{escape(across)}</text>')
    for colour, line in zip(COLOURS, series.values(), strict=False):
        path = " ".join(f"{x(rate)},{y(value)}" for rate, value in line)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [f'<circle cx="{x(rate)}" cy="{y(value)}" r="3" fill="{colour}"/>' for rate, value in line]
    return _document(title, LINES_HEIGHT, [*body, _legend(list(series), LINES_HEIGHT - 16)])


def _ticks(least: float, most: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, at least two, from one at or below the least to one at or above the most.

    Example:
        >>> _ticks(30, 400)
        [20, 50, 100, 200, 500]
    """
    steps = [factor * 10.0**power for power in range(-9, 12) for factor in (1, 2, 5)]
    first = max((place for place, step in enumerate(steps) if step <= least), default=0)
    last = next((place for place, step in enumerate(steps) if step >= most and place > first), len(steps) - 1)
    return steps[first : last + 1]


def _document(title: str, height: int, body: Sequence[str]) -> str:
    content = "\n".join(filter(None, body))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<title>{escape(title)}</title>
<rect width="{WIDTH}" height="{height}" fill="white"/>
<text x="{MARGIN}" y="28" font-size="16">{escape(title)}</text>
{content}
</svg>
"""


def _legend(names: Sequence[str], y: int) -> str:
    spans = (
        f'<tspan fill="{COLOURS[place % len(COLOURS)]}">■ {escape(name)}</tspan>' for place, name in enumerate(names)
    )
    return f'<text x="{MARGIN}" y="{y}">{"   ".join(spans)}</text>' if names else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits are enough
