"""Whether the pods of a part are ready, and why they are not: shared by the conditions of the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import Level, Reason
from chatoperator.kube.objects import ready_replicas, refusal
from chatoperator.metadata import workload_key

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition, ConditionType
    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.metadata import Part

ALL_READY = Reason("AllReady", ("True",), "All desired pods are ready")
PARTLY_READY = Reason(
    "PartlyReady",
    ("False",),
    "Some pods are ready. The message says why the others are not, with the error that Kubernetes reports",
    Level.STEP,
)
NOT_READY = Reason(
    "NotReady",
    ("False",),
    "No pod is ready. The message says why, with the error that Kubernetes reports, also if Kubernetes rejects the "
    "pods (`FailedCreate`: a ResourceQuota, a LimitRange, an admission policy)",
    Level.STEP,
)
MISSING = Reason(
    "Missing", ("False",), "The Deployment or StatefulSet does not exist yet; see `Progressing`", Level.STEP
)
REASONS = (ALL_READY, PARTLY_READY, NOT_READY, MISSING)
"""Of every part."""

SHOWN = 3
"""Troubles in one message; more pods of a part mostly have the same."""

RESOURCES: dict[Part, str] = {
    "postgres": "database.resources",
    "chatserver": "chatserver.resources",
    "migrate": "chatserver.resources",
    "ingress": "ingress.resources",
    "probe": "monitoring.probe",
    "bus": "bus.valkey.resources",
    "backup": "database.backup.resources",
}
"""The field of the spec with which pods of a part meet a quota."""


def part_condition(inputs: ConditionInputs, part: Part, kind: ConditionType) -> Condition:
    """Ready if all desired pods are."""
    live = inputs.observed.workload(inputs.name, part)
    if live is None:
        workload, name = workload_key(inputs.name, part)
        return kind.condition(MISSING, f"{workload} {name} does not exist yet")
    ready, desired = ready_replicas(live), int(live["spec"].get("replicas", 1))
    message = f"{ready} of {desired} {part} pods are ready"
    if ready >= desired:
        return kind.condition(ALL_READY, message)
    reason = PARTLY_READY if ready else NOT_READY
    return kind.condition(reason, "; ".join([message, *troubles(inputs, part)[:SHOWN]]))


def troubles(inputs: ConditionInputs, part: Part) -> list[str]:
    """Why pods of a part are not ready, each in a sentence."""
    pods = [
        pod
        for pod in inputs.observed.component(part)
        if pod.trouble and (part == "migrate" or not pod.ready) and (pod.lost or not pod.terminating)
    ]
    if part == "migrate":
        # Not those of another image's Job.
        pods = [pod for pod in pods if pod.name.startswith(inputs.migration.job_name or "")]
    rejected = rejection(inputs, part)
    return [*(f"{pod.name}: {pod.trouble}" for pod in pods), *([rejected] if rejected else [])]


def rejection(inputs: ConditionInputs, part: Part) -> str | None:
    """Why Kubernetes does not even create a part's pods: a quota, a LimitRange, an admission. None where it does."""
    error = f"FailedCreate: {inputs.rejections[part]}" if part in inputs.rejections else None
    if error is None and part != "migrate":
        error = refusal(inputs.observed.workload(inputs.name, part))
    if error is None or not error.startswith("FailedCreate"):
        return error
    return (
        f"{error}. Change the quota or policy that rejects the pod, or change spec.{RESOURCES[part]}; Kubernetes "
        "retries automatically"
    )
