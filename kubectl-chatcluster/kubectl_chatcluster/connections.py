"""`connections`: how the connections are spread over the chatservers. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kubectl_chatcluster import terminal
from kubectl_chatcluster.table import age, table

if TYPE_CHECKING:
    import datetime as dt

    from kubectl_chatcluster.picture import Picture, Reading


def total(readings: dict[str, Reading | None]) -> int:
    """Connections of all servers that answered."""
    return sum(reading.connections for reading in readings.values() if reading is not None)


def as_text(picture: Picture, now: dt.datetime) -> str:
    """As text: a row for each server, and the sum."""
    chat, everybody = picture.chat, total(picture.readings)
    rows = []
    for pod in picture.of("chatserver"):
        reading = picture.readings.get(pod.name)
        draining = pod.leaving is not None or (reading is not None and reading.draining)
        rows.append(
            (
                pod.name,
                reading.connections if reading is not None else "?",
                _share(reading, everybody),
                "yes" if draining else "no",
                age(pod.created, now),
            )
        )
    silent = sum(picture.readings.get(pod.name) is None for pod in picture.of("chatserver"))
    known = f"{everybody} connections on {len(rows)} servers" + (
        f"; {silent} of them did not report a number" if silent else ""
    )
    target = "?" if chat.target is None else chat.target
    servers = f"{_number(chat.ready_replicas)} servers ready, {_number(chat.desired_replicas)} desired"
    desired = f"target {target} per server; {servers}"
    lines = [*table(("SERVER", "CONNECTIONS", "SHARE", "DRAINING", "AGE"), rows, indent=""), "", known, desired]
    lines += [f"cannot show: {why}" for why in picture.unseen]
    return "\n".join(terminal.line(line) for line in lines) + "\n"


def _share(reading: Reading | None, everybody: int) -> str:
    if reading is None:
        return "?"
    return f"{100 * reading.connections / everybody:.1f} %" if everybody else "-"


def _number(value: int | None) -> str:
    return "?" if value is None else str(value)


def as_json(picture: Picture) -> str:
    """For programs; `connections` is null where a server gave no reading."""
    servers = []
    for pod in picture.of("chatserver"):
        reading = picture.readings.get(pod.name)
        servers.append(
            {
                "name": pod.name,
                "connections": None if reading is None else reading.connections,
                "draining": pod.leaving is not None or (reading is not None and reading.draining),
            }
        )
    made = {
        "servers": servers,
        "connections": total(picture.readings),
        "targetConnectionsPerServer": picture.chat.target,
        "readyReplicas": picture.chat.ready_replicas,
        "desiredReplicas": picture.chat.desired_replicas,
    }
    return json.dumps(made, indent=2) + "\n"
