"""HostnameConflict: whether an older ChatCluster has one of its hostnames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

HOSTNAME_TAKEN = Reason(
    "HostnameTaken",
    ("True",),
    "An older ChatCluster has the same hostname and port. Both serve; remove the hostname from one of them. A "
    "ChatCluster in another namespace is not named; `kubectl get cc -A -o yaml` shows it to users who may read all "
    "namespaces",
    Level.WARNING,
)
UNIQUE = Reason("Unique", ("False",), "No action needed")

TYPE = ConditionType(
    "HostnameConflict",
    bad="True",
    summary="An older ChatCluster uses the same hostname and port.",
    reasons=(HOSTNAME_TAKEN, UNIQUE),
)


def condition(inputs: ConditionInputs) -> Condition:
    """HostnameConflict."""
    if inputs.conflict is None:
        return TYPE.condition(UNIQUE, "No older ChatCluster uses one of its hostnames")
    message = (
        f"{inputs.conflict}. Both serve; DNS decides which of them clients reach. Remove the hostname from "
        "ingress.hostnames of one of them"
    )
    return TYPE.condition(HOSTNAME_TAKEN, message)
