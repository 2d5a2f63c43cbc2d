"""The agent's log: one line of JSON an event, as the other parts write it."""

from __future__ import annotations

import datetime as dt
import json
import sys


def log(level: str, event: str, *, logger: str = "postgres-agent", **fields: object) -> None:
    """Write one line to stderr, with the time in UTC."""
    at = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {"event": event, "level": level, "timestamp": at, "logger": logger, **fields}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()
