"""Whether all chatservers that are wanted serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import migration
from chatoperator.conditions.inputs import Condition
from chatoperator.conditions.workloads import part_condition

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def condition(facts: Facts) -> Condition:
    """ChatserverReady."""
    if facts.cluster is not None and not facts.migrated and facts.observed.workload(facts.name, "chatserver") is None:
        message = "Waiting for the database's schema: " + migration.words(facts)
        return Condition("ChatserverReady", "False", "WaitingForMigration", message)
    return part_condition(facts, "chatserver", "ChatserverReady")
