"""Whether a part's pods are ready, and what keeps them from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition
from chatoperator.metadata import part_name
from chatoperator.observed import ready_replicas, refusal

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts
    from chatoperator.metadata import Part

SHOWN = 3
"""Troubles in one message; more pods of a part mostly have the same."""

RESOURCES: dict[Part, str] = {
    "postgres": "database.resources",
    "chatserver": "chatserver.resources",
    "migrate": "chatserver.resources",
    "ingress": "ingress.resources",
}
"""The field of the spec with which pods of a part meet a quota."""


def part_condition(facts: Facts, part: Part, kind: str) -> Condition:
    """Ready where all wanted pods are."""
    live = facts.observed.workload(facts.name, part)
    if live is None:
        return Condition(kind, "False", "Missing", f"{part_name(facts.name, part)} does not exist yet")
    ready, wanted = ready_replicas(live), int(live["spec"].get("replicas", 1))
    if ready >= wanted:
        return Condition(kind, "True", "AllReady", f"{ready} of {wanted} {part} pods are ready")
    reason = "PartlyReady" if ready else "NotReady"
    message = "; ".join([f"{ready} of {wanted} {part} pods are ready", *troubles(facts, part)[:SHOWN]])
    return Condition(kind, "False", reason, message)


def troubles(facts: Facts, part: Part) -> list[str]:
    """What keeps pods of a part from being ready, each in a sentence."""
    pods = [
        pod
        for pod in facts.observed.component(part)
        if pod.trouble and (part == "migrate" or not pod.ready) and (pod.lost or not pod.terminating)
    ]
    if part == "migrate":
        # Not those of another image's Job.
        pods = [pod for pod in pods if pod.name.startswith(facts.migrate_job_name or "")]
    rejected = rejection(facts, part)
    return [*(f"{pod.name}: {pod.trouble}" for pod in pods), *([rejected] if rejected else [])]


def rejection(facts: Facts, part: Part) -> str | None:
    """Why Kubernetes does not even create a part's pods: a quota, a LimitRange, an admission. None where it does."""
    told = f"FailedCreate: {facts.rejections[part]}" if part in facts.rejections else None
    if told is None and part != "migrate":
        told = refusal(facts.observed.workload(facts.name, part))
    if told is None or not told.startswith("FailedCreate"):
        return told
    return f"{told}. Change what rejects the pod, or spec.{RESOURCES[part]}; Kubernetes tries again by itself"
