"""Whether anybody else writes what the operator writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition:
    """Contested."""
    if facts.contested is None:
        return Condition("Contested", "False", "Uncontested", "Nobody else changes what the operator applies")
    return Condition("Contested", "True", facts.contested.reason, facts.contested.message)
