"""`status`: a summary of one ChatCluster. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING

from kubectl_chatcluster import terminal
from kubectl_chatcluster.table import age, table

if TYPE_CHECKING:
    from kubectl_chatcluster.picture import Chat, Picture, Pod

EVENTS = 10
"""Newest Events to show: as many as an idle hour may make."""


def as_text(picture: Picture, now: dt.datetime) -> str:
    """As text."""
    chat = picture.chat
    lines = [
        f"ChatCluster {chat.namespace}/{chat.name}, {age(chat.created, now)} old",
        headline(chat, now),
        "",
        *_conditions(chat, now),
        "",
        *_servers(picture, now),
        "",
        *_pods("Ingress", picture.of("ingress"), now),
        "",
        *_database(picture, now),
    ]
    if picture.of("probe"):
        lines += ["", *_pods("Probe", picture.of("probe"), now)]
    if picture.of("bus"):
        lines += ["", *_pods("Bus", picture.of("bus"), now)]
    if picture.of("backup"):
        lines += ["", *_pods("Backup", picture.of("backup"), now)]
    migrations = [pod for pod in picture.of("migrate") if pod.state != "succeeded"]
    if migrations:
        lines += ["", *_pods("Migration", tuple(migrations), now)]
    lines += ["", *_images(chat), "", *_events(picture, now)]
    if picture.unseen:
        lines += ["", "Could not be read", *(f"  {why}" for why in picture.unseen)]
    return "\n".join(terminal.line(line) for line in lines) + "\n"


def headline(chat: Chat, now: dt.datetime) -> str:
    """The answer in one line: whether it works, and if not, why."""
    ready = chat.condition("Ready")
    if ready is None:
        return (
            "NOT READY: the operator has not reported a status yet. Check that it runs: kubectl "
            "chatcluster logs --component operator"
        )
    stale = ""
    if chat.observed_generation != chat.generation:
        stale = (
            f" (for generation {chat.observed_generation} of the spec; the operator has not processed "
            f"generation {chat.generation} yet)"
        )
    if ready.status == "True":
        return f"Ready for {age(ready.since, now)}{stale}" + (f": {chat.url}" if chat.url else "")
    return f"NOT READY for {age(ready.since, now)}{stale}: {ready.message or ready.reason}"


def _conditions(chat: Chat, now: dt.datetime) -> list[str]:
    rows = [(one.type, one.status, one.reason, age(one.since, now), one.message) for one in chat.conditions]
    return ["Conditions", *(table(("TYPE", "STATUS", "REASON", "FOR", "MESSAGE"), rows) if rows else ["  none yet"])]


def _servers(picture: Picture, now: dt.datetime) -> list[str]:
    chat = picture.chat
    rows = []
    for pod in picture.of("chatserver"):
        reading = picture.readings.get(pod.name)
        rows.append(
            (
                pod.name,
                "draining" if reading is not None and reading.draining else pod.state,
                reading.connections if reading is not None else "?",
                age(pod.created, now),
                pod.restarts,
                pod.node,
            )
        )
    counts = (
        f"{_figure(chat.ready_replicas)} ready of {_figure(chat.replicas)}, {_figure(chat.desired_replicas)} desired"
    )
    head = f"Chatservers: {counts}; {_figure(chat.connections)} connections, target {_figure(chat.target)} per server"
    columns = ("NAME", "STATE", "CONNECTIONS", "AGE", "RESTARTS", "NODE")
    return [head, *(table(columns, rows) if rows else ["  none"])]


def _pods(title: str, pods: tuple[Pod, ...], now: dt.datetime) -> list[str]:
    rows = [(pod.name, pod.state, age(pod.created, now), pod.restarts, pod.node) for pod in pods]
    ready = sum(pod.ready for pod in pods)
    body = table(("NAME", "STATE", "AGE", "RESTARTS", "NODE"), rows) if rows else ["  none"]
    return [f"{title}: {ready} ready of {len(pods)}", *body]


def _database(picture: Picture, now: dt.datetime) -> list[str]:
    if picture.chat.external_secret is not None:
        return [f"Database: external, with the URL in Secret {picture.chat.external_secret}"]
    volume = picture.volume
    line = (
        f"  volume {volume.name}: {volume.phase}, {volume.size}, class {volume.storage_class or 'none'}"
        if volume is not None
        else "  volume: not found"
    )
    return [*_pods("Database", picture.of("postgres"), now), line, *_instances(picture.chat)]


def _instances(chat: Chat) -> list[str]:
    """Who leads, and who has a copy; nothing where there is one instance."""
    if not chat.instances:
        return []
    rows = [
        (
            one.name,
            "leader" if one.name == chat.leader else "replica",
            one.state,
            "yes" if one.synchronous else "no",
            "" if one.name == chat.leader else _figure(one.lag_mebibytes),
        )
        for one in chat.instances
    ]
    head = f"  leader {chat.leader}" if chat.leader is not None else "  no instance leads: nothing is written"
    return [head, *table(("INSTANCE", "ROLE", "STATE", "SYNCHRONOUS", "LAG MiB"), rows)]


def _images(chat: Chat) -> list[str]:
    rows = sorted(chat.images.items())
    return [f"Version: {chat.version or 'none yet'}", *(f"  {part}: {image}" for part, image in rows)]


def _events(picture: Picture, now: dt.datetime) -> list[str]:
    newest = picture.events[-EVENTS:]
    if not newest:
        return ["Events: none"]
    rows = [
        (age(one.at, now), one.type, one.reason, one.about, one.message + (f" (x{one.count})" if one.count > 1 else ""))
        for one in newest
    ]
    return ["Events, newest last", *table(("AGO", "TYPE", "REASON", "ABOUT", "MESSAGE"), rows)]


def _figure(value: int | None) -> str:
    return "?" if value is None else str(value)


def as_json(picture: Picture) -> str:
    """For programs: the Picture's fields, and `ready`."""

    def plain(value: object) -> str:
        if isinstance(value, dt.datetime):
            return value.isoformat()
        raise TypeError(f"{type(value).__name__} in a Picture")

    made = {"ready": picture.chat.ready, **dataclasses.asdict(picture)}
    return json.dumps(made, default=plain, indent=2) + "\n"
