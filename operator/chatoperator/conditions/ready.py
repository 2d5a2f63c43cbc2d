"""Whether people can use the chat, and what keeps them from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import address
from chatoperator.conditions.inputs import Condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts, parts: Sequence[Condition]) -> Condition:
    """Ready: what a request through the ingress met; the first part that is not well gives the reason."""
    trouble = facts.certificate_trouble
    if facts.answer.ok and trouble is not None and not trouble.accepted:
        # It answers, but not people's clients.
        return Condition("Ready", "False", trouble.reason, f"{facts.answer.message}; {trouble.message}")
    without = address.missing(facts)
    if facts.answer.ok and without is not None and facts.cluster is not None and not facts.cluster.ingress.hostnames:
        # With a hostname its DNS may lead here by another way.
        return Condition("Ready", "False", "AddressMissing", f"{facts.answer.message}; {without}")
    if facts.answer.ok and not (facts.certificate_ends and facts.certificate_ends.over):
        return Condition("Ready", "True", "Answering", facts.answer.message)
    # What waits for another part repeats what that one says.
    broken = [part for part in parts if part.status != "True"]
    reason = broken[0].reason if broken else "NotAnswering"
    if len(broken) > 1:
        broken = [part for part in broken if part.reason != "WaitingForMigration"]
    details = [part.message for part in broken]
    return Condition("Ready", "False", reason, "; ".join([facts.answer.message, *details]))
