"""Whether a newer release could run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition:
    """UpgradeAvailable."""
    if facts.upgrade is None:
        return Condition("UpgradeAvailable", "False", "UpToDate", "The operator's own release runs")
    message = f"Set spec.version to {facts.upgrade} to run the operator's release"
    return Condition("UpgradeAvailable", "True", "NewerOperator", message)
