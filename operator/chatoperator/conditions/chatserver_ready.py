"""ChatserverReady: whether all desired chatservers are ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import migration, workloads
from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

WAITING_FOR_MIGRATION = Reason(
    "WaitingForMigration", ("False",), "Chatservers start after the schema migration; see `Progressing`", Level.STEP
)

TYPE = ConditionType(
    "ChatserverReady",
    bad="False",
    summary="All desired chatservers are ready.",
    reasons=(*workloads.REASONS, WAITING_FOR_MIGRATION),
)


def condition(inputs: ConditionInputs) -> Condition:
    """ChatserverReady."""
    if (
        inputs.cluster is not None
        and not inputs.migration.done
        and inputs.observed.workload(inputs.name, "chatserver") is None
    ):
        message = f"Chatservers start after the migration of the database schema. {migration.message(inputs)}"
        return TYPE.condition(WAITING_FOR_MIGRATION, message)
    return workloads.part_condition(inputs, "chatserver", TYPE)
