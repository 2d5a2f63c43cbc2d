"""Kubernetes Events about a ChatCluster, as manifests, and how many of them there may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.conditions import is_warning
from chatoperator.reporting.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest

MESSAGE_LENGTH_MAX = 1024
"""Characters; the API server refuses a longer Event."""

BURST = 25
"""Events that one ChatCluster may have at once: its bring-up, or a bad day. Kubernetes' own clients allow as many."""

SECONDS_PER_EVENT = 400
"""After a burst one Event may come in this time: at most 9 an hour, however something flaps."""


@dataclass(frozen=True)
class EventContent:
    """What an Event says.

    Attributes:
        warning: Whether somebody should look.
        reason: One word for programs.
        message: What happened, what it means, what to do.
    """

    warning: bool
    reason: str
    message: str


@dataclass(frozen=True)
class Allowance:
    """How many Events may still be made: a bucket that refills with time.

    Attributes:
        left: Events, with the fraction that has refilled.
        at: When that was so, in seconds of a monotonic clock; None before the first Event.
    """

    left: float = BURST
    at: float | None = None

    def spend(self, now: float) -> Allowance | None:
        """What is left after one more Event; None where it may not be made."""
        refilled = 0.0 if self.at is None else (now - self.at) / SECONDS_PER_EVENT
        left = min(BURST, self.left + refilled)
        return Allowance(left - 1, now) if left >= 1 else None


def turned(condition: Mapping[str, str]) -> EventContent:
    """The Event for a condition, as status holds it, that changed."""
    return EventContent(
        is_warning(condition),
        condition["reason"],
        f"{condition['type']} is {condition['status']}: {condition['message']}",
    )


def event(body: Manifest, content: EventContent, *, pod_name: str, now: str, suffix: str) -> Manifest:
    """An Event.

    Args:
        body: The ChatCluster.
        content: What to say.
        pod_name: The operator's pod.
        now: RFC 3339.
        suffix: Makes the Event's name unique.
    """
    metadata = body["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{suffix}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning" if content.warning else "Normal",
        "reason": content.reason,
        "message": printable(content.message)[:MESSAGE_LENGTH_MAX],
        "source": {"component": "chatcluster-operator", "host": pod_name},
        "reportingComponent": "chatcluster-operator",
        "reportingInstance": pod_name,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
