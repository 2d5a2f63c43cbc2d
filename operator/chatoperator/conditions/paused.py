"""Paused: whether an admin has paused the operator for this ChatCluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.conditions.declared import Condition

PAUSED = Reason("Paused", ("True",), "`spec.paused` is true: the operator changes nothing", Level.CHOSEN)
NOT_PAUSED = Reason("NotPaused", ("False",), "No action needed")

TYPE = ConditionType(
    "Paused",
    bad="True",
    summary="The operator changes nothing, because `spec.paused` is true.",
    reasons=(PAUSED, NOT_PAUSED),
)


def condition(cluster: ChatCluster) -> Condition:
    """Paused."""
    if cluster.paused:
        message = "spec.paused is true: the operator changes nothing; running pods keep running"
        return TYPE.condition(PAUSED, message)
    return TYPE.condition(NOT_PAUSED, "The operator applies changes of the spec")
