"""Whether somebody has told the operator to change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster


def condition(cluster: ChatCluster) -> Condition:
    """Paused."""
    if cluster.paused:
        return Condition("Paused", "True", "Paused", "spec.paused is true: nothing is changed, what runs keeps running")
    return Condition("Paused", "False", "NotPaused", "The operator keeps the chat as the spec asks")
