"""A ChatCluster and its parts as frozen types, read from the API's objects. Pure."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

from kubectl_chatcluster.names import COMPONENT_LABEL, INSTANCE_LABEL, METRICS_PORT_NAME, PARTS, claim_name, part_name

Object = dict[str, Any]

READING = re.compile(r"^chatserver_(connections|draining)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Condition:
    """One condition of a ChatCluster; `since` is None where it was never written."""

    type: str
    status: str
    reason: str
    message: str
    since: dt.datetime | None


@dataclass(frozen=True)
class Instance:
    """One of several instances of the database.

    Attributes:
        name: Its pod.
        state: What PostgreSQL does there.
        synchronous: A message may count as stored because it is there.
        lag_mebibytes: What it has not replayed of the leader's log, in MiB; None where that is not known.
    """

    name: str
    state: str
    synchronous: bool
    lag_mebibytes: int | None


@dataclass(frozen=True)
class Chat:
    """A ChatCluster.

    Attributes:
        namespace: Of it.
        name: Of it.
        created: When it was made.
        generation: Of the spec.
        observed_generation: The one that the status speaks of; 0 where there is no status yet.
        conditions: In the operator's order.
        url: Where clients reach the chat; empty while there is none.
        version: Release that runs; empty while none does.
        images: By part.
        connections: As the operator last counted them.
        replicas: Chatservers that exist.
        ready_replicas: Chatservers that are ready.
        desired_replicas: Desired number of chatservers.
        target: Connections that one server is made for; None where the spec has none.
        external_secret: Name of the Secret of a database that is not the operator's.
        leader: Pod of the instance of the database that takes writes; None where there is one instance, or no leader.
        instances: Of the database, where there are several.
    """

    namespace: str
    name: str
    created: dt.datetime
    generation: int
    observed_generation: int
    conditions: tuple[Condition, ...]
    url: str
    version: str
    images: dict[str, str]
    connections: int | None
    replicas: int | None
    ready_replicas: int | None
    desired_replicas: int | None
    target: int | None
    external_secret: str | None
    leader: str | None
    instances: tuple[Instance, ...]

    def condition(self, kind: str) -> Condition | None:
        """One of the conditions."""
        return next((one for one in self.conditions if one.type == kind), None)

    @property
    def ready(self) -> bool:
        """Whether the chat works, as the operator sees it."""
        found = self.condition("Ready")
        return found is not None and found.status == "True"


@dataclass(frozen=True)
class Pod:
    """A pod of one of the parts.

    Attributes:
        name: Of the pod.
        uid: Another one under the same name is another pod.
        chat: Name of its ChatCluster.
        part: Such as `chatserver`.
        node: Empty while it has none.
        created: When it was made.
        leaving: Since when it is being deleted; None while it is not.
        ready: Whether it serves.
        state: In a word or two, such as `ready` or `CrashLoopBackOff`.
        restarts: Of all its containers.
        grace_seconds: Time it has to leave.
        metrics_port: None where it has no metrics page.
        containers: Their names.
    """

    name: str
    uid: str
    chat: str
    part: str
    node: str
    created: dt.datetime
    leaving: dt.datetime | None
    ready: bool
    state: str
    restarts: int
    grace_seconds: int
    metrics_port: int | None
    containers: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What a chatserver said of itself."""

    connections: int
    draining: bool


@dataclass(frozen=True)
class Volume:
    """The database's volume claim."""

    name: str
    phase: str
    size: str
    storage_class: str


@dataclass(frozen=True)
class Event:
    """An Event of the ChatCluster or one of its parts."""

    at: dt.datetime
    type: str
    about: str
    reason: str
    message: str
    count: int


@dataclass(frozen=True)
class Picture:
    """All of one ChatCluster at a moment.

    Attributes:
        chat: The resource.
        pods: Of all parts, by part and name.
        readings: By name of the chatserver; None where it gave none.
        volume: None where there is none.
        events: Oldest first.
        unseen: What could not be read, and why.
    """

    chat: Chat
    pods: tuple[Pod, ...]
    readings: dict[str, Reading | None]
    volume: Volume | None
    events: tuple[Event, ...]
    unseen: tuple[str, ...]

    def of(self, part: str) -> tuple[Pod, ...]:
        """The pods of one part."""
        return tuple(pod for pod in self.pods if pod.part == part)


def chat_of(body: Object) -> Chat:
    """Read a ChatCluster."""
    spec, status, metadata = body.get("spec") or {}, body.get("status") or {}, body["metadata"]
    conditions = tuple(
        Condition(
            one["type"],
            one["status"],
            one.get("reason", ""),
            one.get("message", ""),
            time_of(one.get("lastTransitionTime")),
        )
        for one in status.get("conditions") or []
    )
    return Chat(
        namespace=metadata["namespace"],
        name=metadata["name"],
        created=_created(metadata),
        generation=metadata.get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        conditions=conditions,
        url=status.get("url", ""),
        version=status.get("version", ""),
        images=dict(status.get("images") or {}),
        connections=status.get("connections"),
        replicas=status.get("replicas"),
        ready_replicas=status.get("readyReplicas"),
        desired_replicas=status.get("desiredReplicas"),
        target=(spec.get("chatserver") or {}).get("targetConnectionsPerServer"),
        external_secret=((spec.get("database") or {}).get("external") or {}).get("secretName"),
        leader=(status.get("database") or {}).get("leader"),
        instances=tuple(
            Instance(one["name"], one.get("state", "unknown"), bool(one.get("synchronous")), one.get("lagMebibytes"))
            for one in (status.get("database") or {}).get("instances") or []
        ),
    )


def pod_of(body: Object) -> Pod:
    """Read a pod."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = metadata.get("labels") or {}
    containers = spec.get("containers") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or [])
    leaving = time_of(metadata.get("deletionTimestamp"))
    return Pod(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        chat=labels.get(INSTANCE_LABEL, ""),
        part=labels.get(COMPONENT_LABEL, ""),
        node=spec.get("nodeName", ""),
        created=_created(metadata),
        leaving=leaving,
        ready=ready and leaving is None,
        state="leaving" if leaving else _state(status, ready=ready),
        restarts=sum(one.get("restartCount", 0) for one in status.get("containerStatuses") or []),
        grace_seconds=spec.get("terminationGracePeriodSeconds", 30),
        metrics_port=next(
            (
                port["containerPort"]
                for container in containers
                for port in container.get("ports") or []
                if port.get("name") == METRICS_PORT_NAME
            ),
            None,
        ),
        containers=tuple(container["name"] for container in containers),
    )


def _state(status: Object, *, ready: bool) -> str:
    for container in status.get("containerStatuses") or []:
        state = container.get("state") or {}
        if "waiting" in state:
            return str(state["waiting"].get("reason", "waiting"))
        if "terminated" in state and status.get("phase") != "Succeeded":
            return str(state["terminated"].get("reason", "ended"))
    if ready:
        return "ready"
    phase = str(status.get("phase", "Unknown"))
    return "not ready" if phase == "Running" else phase.lower()


def volume_of(body: Object) -> Volume:
    """Read a volume claim; its size is the real one, or the requested one while there is none."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    return Volume(
        name=body["metadata"]["name"],
        phase=status.get("phase", "Pending"),
        size=(status.get("capacity") or {}).get("storage")
        or (spec.get("resources") or {}).get("requests", {}).get("storage", ""),
        storage_class=spec.get("storageClassName", ""),
    )


def events_of(bodies: list[Object], chat: str) -> tuple[Event, ...]:
    """The Events of one ChatCluster and its parts, oldest first, from all of a namespace."""
    prefixes = tuple(part_name(chat, part) for part in PARTS)
    made = []
    for body in bodies:
        about = body.get("involvedObject") or {}
        name = str(about.get("name", ""))
        ours = about.get("kind") == "ChatCluster" and name == chat
        if not ours and not name.startswith(prefixes) and name != claim_name(chat):
            continue
        series = body.get("series") or {}
        times = (
            series.get("lastObservedTime"),
            body.get("lastTimestamp"),
            body.get("eventTime"),
            body.get("firstTimestamp"),
            body["metadata"].get("creationTimestamp"),
        )
        at = next((found for found in map(time_of, times) if found is not None), None)
        if at is not None:
            made.append(
                Event(
                    at=at,
                    type=str(body.get("type", "")),
                    about=f"{about.get('kind', '')}/{name}",
                    reason=str(body.get("reason", "")),
                    message=str(body.get("message") or "").strip(),
                    count=int(series.get("count") or body.get("count") or 1),
                )
            )
    return tuple(sorted(made, key=lambda event: event.at))


def reading_of(page: str) -> Reading | None:
    """Read a chatserver's metrics page; None where it does not hold both figures."""
    try:
        values = {name: float(value) for name, value in READING.findall(page)}
        return Reading(connections=int(values["connections"]), draining=values["draining"] > 0)
    except (KeyError, ValueError, OverflowError):
        return None


def time_of(text: str | None) -> dt.datetime | None:
    """Read one of Kubernetes' times."""
    return dt.datetime.fromisoformat(text) if text else None


def _created(metadata: Object) -> dt.datetime:
    return dt.datetime.fromisoformat(metadata["creationTimestamp"])
