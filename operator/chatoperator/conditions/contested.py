"""Contested: whether another program changes what the operator applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

OTHER_OPERATOR = Reason(
    "OtherOperator",
    ("True",),
    "Another release of the chart also serves this ChatCluster. The message names its Lease and its release. The "
    "other operator stands by and does not write. Uninstall one of the two, or set `watchNamespaces` so that no "
    "namespace is in both ([0031](../decisions/0031-one-operator-leads-the-others-stand-back.md))",
    Level.WARNING,
)
OTHER_WRITER = Reason(
    "OtherWriter",
    ("True",),
    "Another client repeatedly changes or deletes what the operator applies. The message names objects, fields and "
    "field managers. After three times the operator reverts the changes with growing delays, up to ten minutes. Stop "
    "the other writer, or set the fields in the ChatCluster",
    Level.WARNING,
)
OVERRULED = Reason(
    "Overruled",
    ("True",),
    "An admission policy or webhook changes what the operator applies; the message names the fields. Exempt the "
    "operator's objects from it",
    Level.WARNING,
)
UNCONTESTED = Reason("Uncontested", ("False",), "No action needed")

TYPE = ConditionType(
    "Contested",
    bad="True",
    summary="Another program changes or deletes what the operator applies.",
    reasons=(OTHER_OPERATOR, OTHER_WRITER, OVERRULED, UNCONTESTED),
)


def condition(inputs: ConditionInputs) -> Condition:
    """Contested."""
    if inputs.contested is None:
        return TYPE.condition(UNCONTESTED, "No other program changes what the operator applies")
    return TYPE.condition(TYPE.reason(inputs.contested.reason), inputs.contested.message)
