"""What Prometheus gets of one ChatCluster after a reconcile. Pure."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from chatoperator.conditions import TYPES
from chatoperator.desired.replication import existing
from chatoperator.kube.objects import ready_replicas
from chatoperator.metadata import database_name
from chatoperator.metrics.chats import ConditionSeries, Figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.metadata import Manifest, Part

COMPONENTS: Mapping[str, Part] = {
    "chatserver": "chatserver",
    "ingress": "ingress",
    "database": "postgres",
    "probe": "probe",
    "bus": "bus",
    "backup": "backup",
}
"""Values of the label `component`, with the parts that they name."""

KNOWN = frozenset(kind.name for kind in TYPES)
"""Types of conditions that the operator makes. Status may hold others of other writers, which name no series here."""


def figures(inputs: ConditionInputs, status: Mapping[str, Any]) -> Figures:
    """The figures to export.

    Args:
        inputs: The reconcile.
        status: As it is after the reconcile.
    """
    certificate = status.get("certificate")
    return Figures(
        conditions=tuple(
            ConditionSeries(one["type"], one["status"], one["reason"], _unix_time(one["lastTransitionTime"]))
            for one in status["conditions"]
            if one["type"] in KNOWN
        ),
        connections=status["connections"],
        desired_replicas=status.get("desiredReplicas"),
        replicas=dict(_replicas(inputs)),
        certificate_expiry=_unix_time(certificate["notAfter"]) if certificate else None,
    )


def _replicas(inputs: ConditionInputs) -> Iterator[tuple[tuple[str, str], int]]:
    for component, part in COMPONENTS.items():
        live = inputs.observed.workload(inputs.name, part)
        desired = _desired(inputs, part, live)
        if desired is not None:
            yield (component, "desired"), desired
            yield (component, "ready"), _instances_ready(inputs) if part == "postgres" else ready_replicas(live)


def _instances_ready(inputs: ConditionInputs) -> int:
    """Instances of the database, each of which has a StatefulSet of its own."""
    names = [database_name(inputs.name, number) for number in existing(inputs.name, inputs.observed)]
    return sum(ready_replicas(inputs.observed.child("StatefulSet", name)) for name in names)


def _desired(inputs: ConditionInputs, part: Part, live: Manifest | None) -> int | None:
    """None where the spec requires no such part; where it is invalid, what it required before still runs."""
    if inputs.desired is None:
        return int(live["spec"].get("replicas", 1)) if live is not None else None
    if part == "postgres":
        return None if inputs.external else inputs.desired.cluster.database.instances
    if part == "probe":
        return 1 if inputs.desired.probe is not None else None
    if part == "bus":
        return inputs.desired.bus.pods
    if part == "backup":
        return 1 if inputs.desired.backup is not None else None
    return inputs.desired.replicas if part == "chatserver" else inputs.desired.cluster.ingress.replicas


def _unix_time(rfc3339: str) -> float:
    return dt.datetime.fromisoformat(rfc3339).timestamp()
