"""UpgradeAvailable: whether the operator can install another release than the one that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Reason

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

NEWER_OPERATOR = Reason(
    "NewerOperator", ("True",), "Set `spec.version` to the release of the operator when it suits you"
)
UP_TO_DATE = Reason("UpToDate", ("False",), "No action needed")

TYPE = ConditionType(
    "UpgradeAvailable",
    bad="True",
    summary="The operator can install another release than the one that runs.",
    reasons=(NEWER_OPERATOR, UP_TO_DATE),
)


def condition(inputs: ConditionInputs) -> Condition:
    """UpgradeAvailable."""
    release = inputs.desired.release.available if inputs.desired is not None else None
    if release is None:
        return TYPE.condition(UP_TO_DATE, "No upgrade available: the chat runs the release of the operator")
    message = f"The operator can install release {release}. To upgrade, set spec.version to {release}"
    return TYPE.condition(NEWER_OPERATOR, message)
