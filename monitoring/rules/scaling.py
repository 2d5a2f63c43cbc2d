"""Durations in rules, and rules whose time runs faster: tests wait seconds for what takes hours in production. Pure.

A scale divides each duration of a rule: ranges (``[5m]``, ``[3d:5m]``), ``offset 1h``, the pending time, the interval
of a group, and ``seconds(5m)``. The last is our own: a threshold that is a time, which becomes a number of seconds.
Thresholds that count events, bytes or ratios stay.
"""

from __future__ import annotations

import re

MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Units of a duration; Prometheus' weeks and years are not used here."""

_DURATION = r"\d+(?:ms|[smhd])"
_PARTS = re.compile(
    rf"\[(?P<range>{_DURATION})(?::(?P<step>{_DURATION}))?\]"
    rf"|\boffset (?P<offset>{_DURATION})"
    rf"|\bseconds\((?P<seconds>{_DURATION})\)"
)


def milliseconds(duration: str) -> int:
    """The length of a duration such as ``5m``.

    Raises:
        ValueError: It is no number with a unit of ``MILLISECONDS``.
    """
    found = re.fullmatch(r"(\d+)([a-z]+)", duration)
    if found is None or found[2] not in MILLISECONDS:
        raise ValueError(f"{duration!r} is no duration: write a number and one of {', '.join(MILLISECONDS)}")
    return int(found[1]) * MILLISECONDS[found[2]]


def scaled(duration: str, scale: float) -> str:
    """A duration divided by ``scale``, in the largest unit that leaves no fraction; at least a millisecond.

    ``1h`` at a scale of 60 becomes ``1m``.
    """
    length = max(round(milliseconds(duration) / scale), 1) if milliseconds(duration) else 0
    unit = next(unit for unit in reversed(MILLISECONDS) if length % MILLISECONDS[unit] == 0) if length else "s"
    return f"{length // MILLISECONDS[unit]}{unit}"


def expression(expr: str, scale: float) -> str:
    """PromQL with each of its durations divided by ``scale``."""

    def replace(found: re.Match[str]) -> str:
        if found["seconds"]:
            return f"{milliseconds(found['seconds']) / 1000 / scale:g}"
        if found["offset"]:
            return f"offset {scaled(found['offset'], scale)}"
        step = f":{scaled(found['step'], scale)}" if found["step"] else ""
        return f"[{scaled(found['range'], scale)}{step}]"

    return _PARTS.sub(replace, expr)
