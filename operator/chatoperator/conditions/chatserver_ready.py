"""ChatserverReady: whether all desired chatservers are ready."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatoperator.conditions import database_restored, migration, workloads
from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

WAITING_FOR_MIGRATION = Reason(
    "WaitingForMigration", ("False",), "Chatservers start after the schema migration; see `Progressing`", Level.STEP
)

RESTORING = replace(
    database_restored.RESTORING,
    meaning="No chatserver runs, because the database is being replaced by an earlier state; see `DatabaseRestored`",
)

TYPE = ConditionType(
    "ChatserverReady",
    bad="False",
    summary="All desired chatservers are ready.",
    reasons=(*workloads.REASONS, WAITING_FOR_MIGRATION, RESTORING),
)


def condition(inputs: ConditionInputs) -> Condition:
    """ChatserverReady."""
    if inputs.desired is not None and inputs.desired.holds_servers:
        message = "No chatserver runs while the database is being replaced by an earlier state (DatabaseRestored)"
        return TYPE.condition(RESTORING, message)
    if (
        inputs.cluster is not None
        and not inputs.migration.done
        and inputs.observed.workload(inputs.name, "chatserver") is None
    ):
        message = f"Chatservers start after the migration of the database schema. {migration.message(inputs)}"
        return TYPE.condition(WAITING_FOR_MIGRATION, message)
    return workloads.part_condition(inputs, "chatserver", TYPE)
