"""Whether another ChatCluster has one of its hostnames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition:
    """HostnameConflict."""
    if facts.conflict is None:
        return Condition("HostnameConflict", "False", "Unique", "No older ChatCluster has one of its hostnames")
    message = (
        f"{facts.conflict}. Both serve; which one people reach is up to DNS. Remove it from ingress.hostnames of one "
        "of them"
    )
    return Condition("HostnameConflict", "True", "HostnameTaken", message)
