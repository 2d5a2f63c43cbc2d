"""RestoreTested: whether the last restore drill succeeded. Only of a ChatCluster with database.backup.drill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs

RESTORE_TESTED = Reason(
    "RestoreTested",
    ("True",),
    "The last drill restored the newest backup with all WAL, found no damage and counted the messages",
)
NO_DRILL_YET = Reason(
    "NoDrillYet",
    ("False",),
    "The first drill has not ended yet; it begins after the first backup. If this lasts, read the logs of pod "
    "`NAME-backup-0`",
    Level.STEP,
)
DRILL_FAILED = Reason(
    "DrillFailed",
    ("False",),
    "The last drill could not restore the database, or found damage in it; the message says why. See "
    "[ChatRestoreDrillFailed](../runbooks/ChatRestoreDrillFailed.md)",
    Level.WARNING,
)
DRILL_OVERDUE = Reason(
    "DrillOverdue",
    ("False",),
    "A drill should have begun by the schedule more than a day ago, and there is no result. See "
    "[ChatRestoreDrillOverdue](../runbooks/ChatRestoreDrillOverdue.md)",
    Level.WARNING,
)

TYPE = ConditionType(
    "RestoreTested",
    bad="False",
    summary="The database was restored from its repository as a test, and was whole.\n"
    "A ChatCluster has this condition only with `database.backup.drill`.",
    reasons=(RESTORE_TESTED, NO_DRILL_YET, DRILL_FAILED, DRILL_OVERDUE),
)


def condition(inputs: ConditionInputs) -> Condition:
    """RestoreTested; while the backup pod gives no report, what it said last: BackedUp says that it is silent."""
    report = inputs.observed.backup
    if report is None:
        return _held(inputs)
    last = report.last_drill
    if last is not None and not last.ok:
        good = f"the last good one ended at {last.good_at}" if last.good_at is not None else "none has succeeded yet"
        return TYPE.condition(DRILL_FAILED, f"The drill of {last.at} failed ({last.code}): {last.text}; {good}")
    if report.drill_overdue_since is not None:
        message = f"A drill was due at {report.drill_overdue_since}, and there is no result"
        return TYPE.condition(DRILL_OVERDUE, message)
    if last is None:
        return TYPE.condition(NO_DRILL_YET, "The first drill has not ended yet")
    found = f"{last.messages} messages" if last.messages is not None else "the database"
    upto = f" up to {last.restored_to}" if last.restored_to is not None else ""
    return TYPE.condition(RESTORE_TESTED, f"The drill of {last.at} restored {found}{upto}, and found no damage")


def _held(inputs: ConditionInputs) -> Condition:
    conditions = (inputs.body.get("status") or {}).get("conditions") or ()
    held = next((one for one in conditions if one["type"] == TYPE.name), None)
    if held is None or held["reason"] not in {reason.name for reason in TYPE.reasons}:
        return TYPE.condition(NO_DRILL_YET, "The backup pod starts")
    return TYPE.condition(TYPE.reason(held["reason"]), held["message"])
