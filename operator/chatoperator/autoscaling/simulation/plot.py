"""A simulated run as text for the terminal and as SVG: desired servers, over connections divided by the target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chatoperator.autoscaling.simulation import totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.autoscaling.autoscaler import Policy
    from chatoperator.autoscaling.simulation import Step

COLUMNS = 72
ROWS = 16
"""Of the drawing in the terminal: with its axis it fits 80 columns."""

MARKS = 4
"""Times written below the drawing."""

SVG_WIDTH, SVG_HEIGHT, SVG_MARGIN = 960, 360, 48
"""Pixels."""


def as_text(steps: Sequence[Step], policy: Policy) -> str:
    """The drawing, each change of the number, and what it came to."""
    return "\n\n".join([_drawing(steps, policy), _changes(steps), _summary(steps, policy)])


def as_svg(steps: Sequence[Step], policy: Policy) -> str:
    """The drawing as an SVG document."""
    top = _ceiling(steps, policy)
    width, height = SVG_WIDTH - 2 * SVG_MARGIN, SVG_HEIGHT - 2 * SVG_MARGIN
    end = steps[-1].seconds or 1

    def x(seconds: float) -> float:
        return round(SVG_MARGIN + width * seconds / end, 1)

    def y(servers: float) -> float:
        return round(SVG_MARGIN + height * (1 - servers / top), 1)

    demand = " ".join(f"{x(step.seconds)},{y(step.connections / policy.target)}" for step in steps)
    line = f"M{x(0)},{y(steps[0].desired)}" + "".join(f"H{x(step.seconds)}V{y(step.desired)}" for step in steps[1:])
    rules = "".join(
        f'<line x1="{x(0)}" x2="{x(end)}" y1="{y(n)}" y2="{y(n)}" stroke="#ddd"/>'
        f'<text x="{x(0) - 6}" y="{y(n) + 4}" text-anchor="end">{n}</text>'
        for n in range(0, top + 1, max(1, math.ceil(top / 10)))
    )
    marks = "".join(
        f'<text x="{x(end * n / MARKS)}" y="{y(0) + 20}" text-anchor="middle">{clock(end * n / MARKS)}</text>'
        for n in range(MARKS + 1)
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SVG_WIDTH} {SVG_HEIGHT}" font-family="sans-serif" font-size="12">
<title>Chatservers over connections</title>
<rect width="{SVG_WIDTH}" height="{SVG_HEIGHT}" fill="white"/>
{rules}
<polygon points="{x(0)},{y(0)} {demand} {x(end)},{y(0)}" fill="#9ecae9"/>
<path d="{line}" fill="none" stroke="#d6453d" stroke-width="2"/>
{marks}
<text x="{SVG_MARGIN}" y="{SVG_MARGIN - 20}"><tspan fill="#d6453d">chatservers</tspan>, over <tspan fill="#4c90c0">\
connections / {policy.target:,}</tspan></text>
</svg>
"""


def clock(seconds: float) -> str:
    """Hours, minutes and seconds since the trace began: 3661 -> 01:01:01."""
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _ceiling(steps: Sequence[Step], policy: Policy) -> int:
    return max(1, *(max(step.desired, math.ceil(step.connections / policy.target)) for step in steps))


def _drawing(steps: Sequence[Step], policy: Policy) -> str:
    top = _ceiling(steps, policy)
    columns = min(COLUMNS, len(steps))
    buckets = [steps[n * len(steps) // columns : (n + 1) * len(steps) // columns] for n in range(columns)]
    servers = [max(step.desired for step in bucket) for bucket in buckets]
    demand = [max(step.connections for step in bucket) / policy.target for bucket in buckets]
    lines = []
    for row in range(ROWS, 0, -1):
        low, high = top * (row - 1) / ROWS, top * row / ROWS
        cells = (
            "━" if low < desired <= high else "░" if need > low else " "
            for desired, need in zip(servers, demand, strict=True)
        )
        lines.append(f"{_tick(top, row):>4} ┤{''.join(cells)}".rstrip())
    end = steps[-1].seconds
    marks = "".join(clock(end * n / MARKS).ljust(columns // MARKS) for n in range(MARKS)).rstrip()
    legend = f"      ━ chatservers   ░ connections / {policy.target:,}"
    return "\n".join([*lines, "     └" + "─" * columns, "      " + marks, legend])


def _tick(top: int, row: int) -> str:
    """The whole number of servers that ends in a row, if one does."""
    low, high = top * (row - 1) / ROWS, top * row / ROWS
    whole = math.floor(high)
    return str(whole) if whole > low else ""


def _changes(steps: Sequence[Step]) -> str:
    lines = [f"{'time':>9}  {'connections':>11}  {'ready':>5}  servers  why"]
    before = steps[0].desired
    for step in steps:
        if step.desired != before:
            lines.append(
                f"{clock(step.seconds):>9}  {step.connections:>11,}  {step.ready:>5}  {before:>3}→{step.desired:<3}  "
                f"{step.message}"
            )
        before = step.desired
    return "\n".join(lines if len(lines) > 1 else ["the number of chatservers does not change"])


def _summary(steps: Sequence[Step], policy: Policy) -> str:
    sums = totals(steps, policy)
    spare = sums.server_hours / sums.needed_hours - 1
    fullest = f"{sums.fullest:,} on the fullest chatserver (target {policy.target:,})"
    moves = f"added {sums.ups} times, removed {sums.downs} times, changed direction {sums.turns} times"
    return f"""\
connections     {sums.peak:,} at peak; {fullest}
chatservers     {sums.fewest} to {sums.most}; {moves}
server hours    {sums.server_hours:.1f}, {spare:.0%} more than the connections needed"""
