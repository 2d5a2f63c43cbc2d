"""ScalingLimited: whether minReplicas or maxReplicas limits the number of chatservers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import scaling_active
from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

TOO_FEW_SERVERS = Reason(
    "TooFewServers",
    ("True",),
    "The connections need more chatservers than `maxReplicas`: raise `maxReplicas`",
    Level.WARNING,
)
AT_MINIMUM = Reason(
    "AtMinimum",
    ("True",),
    "The connections alone need fewer chatservers than `minReplicas`; no action needed",
    Level.FIGURE,
)
WITHIN_BOUNDS = Reason("WithinBounds", ("False",), "No action needed", Level.FIGURE)
AS_SCALING_ACTIVE = (
    Reason("NoReadings", ("Unknown",), "As for `ScalingActive`"),
    Reason("Starting", ("Unknown",), "As for `ScalingActive`"),
    Reason("External", ("False",), "As for `ScalingActive`", Level.CHOSEN),
    Reason("Disabled", ("False",), "As for `ScalingActive`", Level.CHOSEN),
    Reason("Paused", ("Unknown",), "As for `ScalingActive`", Level.CHOSEN),
)

TYPE = ConditionType(
    "ScalingLimited",
    bad="True",
    summary="`minReplicas` or `maxReplicas` limits the number of chatservers.",
    reasons=(TOO_FEW_SERVERS, AT_MINIMUM, WITHIN_BOUNDS, *AS_SCALING_ACTIVE),
)


def condition(inputs: ConditionInputs, cluster: ChatCluster) -> Condition:
    """ScalingLimited."""
    active, scaling = scaling_active.condition(inputs, cluster), cluster.chatserver.scaling
    if inputs.decision is None or active.status != "True":
        return TYPE.condition(TYPE.reason(active.reason), active.message)
    if inputs.decision.bound == "maxReplicas":
        message = (
            f"The current connections need more chatservers than maxReplicas ({scaling.max_replicas}). Raise "
            "chatserver.scaling.maxReplicas; full servers reject new connections"
        )
        return TYPE.condition(TOO_FEW_SERVERS, message)
    if inputs.decision.bound == "minReplicas":
        message = (
            f"The current connections alone need fewer chatservers than minReplicas ({scaling.min_replicas}); no "
            "action needed"
        )
        return TYPE.condition(AT_MINIMUM, message)
    message = "The desired number of chatservers is within minReplicas and maxReplicas"
    return TYPE.condition(WITHIN_BOUNDS, message)
