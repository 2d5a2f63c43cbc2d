"""Whether the operator decides how many chatservers there are, and what bounds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.autoscaling.autoscaler import Bound
    from chatoperator.conditions.inputs import Facts


def conditions(facts: Facts, cluster: ChatCluster) -> tuple[Condition, Condition]:
    """ScalingActive and ScalingLimited."""
    mode = cluster.chatserver.scaling.mode
    if mode != "Internal":
        message = f"chatserver.scaling.mode is {mode}: chatserver.scaling.replicas is the number"
        return (
            Condition("ScalingActive", "False", mode, message),
            Condition("ScalingLimited", "False", mode, message),
        )
    if cluster.paused:
        message = "spec.paused is true: the number of chatservers stays"
        return (
            Condition("ScalingActive", "False", "Paused", message),
            Condition("ScalingLimited", "Unknown", "Paused", message),
        )
    decision = facts.decision
    if decision is None:
        message = "No decision has been made yet"
        return (
            Condition("ScalingActive", "Unknown", "Starting", message),
            Condition("ScalingLimited", "Unknown", "Starting", message),
        )
    if not decision.active:
        return (
            Condition("ScalingActive", "False", decision.reason, decision.message),
            Condition("ScalingLimited", "Unknown", decision.reason, decision.message),
        )
    # Without figures, which change with every connection: status would be written all the time.
    active = Condition("ScalingActive", "True", decision.reason, "The number of chatservers follows their connections")
    return active, _limited(decision.bound, cluster)


def _limited(bound: Bound | None, cluster: ChatCluster) -> Condition:
    scaling = cluster.chatserver.scaling
    if bound == "maxReplicas":
        message = (
            f"Connections want more chatservers than maxReplicas ({scaling.max_replicas}): "
            "raise it, or servers will refuse people when they are full"
        )
        return Condition("ScalingLimited", "True", "TooFewServers", message)
    if bound == "minReplicas":
        message = f"Connections alone want fewer chatservers than minReplicas ({scaling.min_replicas})"
        return Condition("ScalingLimited", "True", "AtMinimum", message)
    return Condition("ScalingLimited", "False", "WithinBounds", "The wish is within minReplicas and maxReplicas")
