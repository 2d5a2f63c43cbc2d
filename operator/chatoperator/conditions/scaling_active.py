"""ScalingActive: whether the operator decides the number of chatservers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

BY_CONNECTIONS = Reason(
    "ByConnections", ("True",), "The operator decides the number of chatservers ([autoscaling.md](autoscaling.md))"
)
NO_READINGS = Reason(
    "NoReadings",
    ("False",),
    "More than a third of the chatservers give no reading, so the operator holds the number. Check their logs, and the "
    "NetworkPolicies between the operator and port 9090",
)
STARTING = Reason("Starting", ("Unknown",), "No decision yet")
EXTERNAL = Reason(
    "External",
    ("False",),
    "`chatserver.scaling.mode` is External: another autoscaler sets `chatserver.scaling.replicas`",
    Level.CHOSEN,
)
DISABLED = Reason(
    "Disabled", ("False",), "`chatserver.scaling.mode` is Disabled: you set `chatserver.scaling.replicas`", Level.CHOSEN
)
PAUSED = Reason("Paused", ("False",), "`spec.paused` is true: the number stays as it is", Level.CHOSEN)

TYPE = ConditionType(
    "ScalingActive",
    bad="False",
    summary="The operator decides the number of chatservers.",
    reasons=(BY_CONNECTIONS, NO_READINGS, STARTING, EXTERNAL, DISABLED, PAUSED),
)


def condition(inputs: ConditionInputs, cluster: ChatCluster) -> Condition:
    """ScalingActive."""
    mode, decision = cluster.chatserver.scaling.mode, inputs.decision
    if mode != "Internal":
        message = f"chatserver.scaling.mode is {mode}: chatserver.scaling.replicas sets the number of chatservers"
        return TYPE.condition(TYPE.reason(mode), message)
    if cluster.paused:
        return TYPE.condition(PAUSED, "spec.paused is true: the number of chatservers stays as it is")
    if decision is None:
        return TYPE.condition(STARTING, "The operator has not decided the number of chatservers yet")
    if not decision.active:
        return TYPE.condition(TYPE.reason(decision.reason), decision.message)
    # Without figures, which change with every connection: status would be written all the time.
    message = "The operator sets the number of chatservers by their connections"
    return TYPE.condition(TYPE.reason(decision.reason), message)
