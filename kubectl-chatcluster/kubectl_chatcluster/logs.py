"""`logs`: what all parts of a ChatCluster wrote, merged, newest last. Pure."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from kubectl_chatcluster import terminal

LEVEL_WIDTH = 7
"""Of `warning`, the longest usual one."""

KNOWN = ("timestamp", "level", "event", "server")
"""Fields that have a place of their own in a line, or are the pod's name again."""


@dataclass(frozen=True)
class Line:
    """One line of one pod."""

    at: dt.datetime
    part: str
    pod: str
    text: str


def split(printed: str, part: str, pod: str) -> list[Line]:
    """Split what `kubectl logs --timestamps` printed; a line without a time has the one before it."""
    made: list[Line] = []
    at = dt.datetime.fromtimestamp(0, dt.UTC)
    for line in printed.splitlines():
        stamp, _, rest = line.partition(" ")
        try:
            at = dt.datetime.fromisoformat(stamp)
        except ValueError:
            rest = line
        made.append(Line(at, part, pod, rest))
    return made


def merge(pods: list[list[Line]]) -> list[Line]:
    """All lines by time; lines of one pod keep their order."""
    return sorted((line for lines in pods for line in lines), key=lambda line: line.at)


def readable(line: Line) -> str:
    """One line to read: time, part, pod, level, event, then the other fields."""
    head = f"{line.at.astimezone(dt.UTC):%m-%d %H:%M:%S}.{line.at.microsecond // 1000:03d} {line.pod}"
    try:
        fields = json.loads(line.text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return f"{head} {terminal.line(line.text)}"
    level = terminal.line(str(fields.get("level", ""))).ljust(LEVEL_WIDTH)
    rest = [f"{terminal.line(name)}={_field(value)}" for name, value in fields.items() if name not in KNOWN]
    return " ".join([head, level, terminal.line(str(fields.get("event", ""))), *rest])


def _field(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    made = terminal.line(text)
    return json.dumps(text) if isinstance(value, str) and (made != text or " " in text or not text) else made
