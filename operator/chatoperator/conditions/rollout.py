"""Parts that are created, or get a new template: part of Progressing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import Level, Reason
from chatoperator.conditions.workloads import SHOWN, troubles
from chatoperator.kube.objects import ready_replicas, rolling
from chatoperator.metadata import part_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.metadata import Part

STARTING = Reason("Starting", ("True",), "The operator creates Deployments and StatefulSets for the first time")
ROLLING = Reason("Rolling", ("True",), "Pods are being replaced, because the spec changed")
ROLLOUT_FAILING = Reason(
    "RolloutFailing",
    ("True",),
    "New pods do not become ready; the message names them and the cause. The old pods, if there were any, keep "
    "serving: [changes.md](changes.md)",
    Level.WARNING,
)
REASONS = (STARTING, ROLLING, ROLLOUT_FAILING)

FIX = "Fix the spec or revert the change"

KEEPS_SERVING = "The previous version keeps serving"
"""Old servers and proxies go only when new ones are ready, and new servers come only after their migration."""


def remedy(inputs: ConditionInputs, parts: Sequence[Part] = ("chatserver",)) -> str:
    """What keeps serving, if anything does, and what to fix: the spec, or a Secret that it names.

    Args:
        inputs: The condition inputs.
        parts: Those whose new pods do not become ready.
    """
    external = inputs.cluster.database.external_secret_name if inputs.cluster is not None else None
    # There is one PostgreSQL: its old pod goes first.
    serves = "postgres" not in parts and all(ready_replicas(inputs.observed.workload(inputs.name, it)) for it in parts)
    fix = FIX
    if external is not None and "chatserver" in parts:
        fix = f"Check the database and Secret {external} (database.external.secretName), or fix the spec"
    return f"{KEEPS_SERVING}. {fix}" if serves else fix


def progress(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """The reason and message of Progressing while parts are created or replaced; None where none is."""
    parts: tuple[Part, ...] = ("postgres", "bus", "backup", "chatserver", "ingress")
    rolls = [part for part in parts if rolling(inputs.observed.workload(inputs.name, part))]
    missing = [part_name(inputs.name, part) for part in parts if _desired(inputs, part) and not _exists(inputs, part)]
    stuck = [trouble for part in rolls for trouble in troubles(inputs, part)]
    if missing:
        return STARTING, f"Creating {', '.join(missing)}"
    if stuck:
        return ROLLOUT_FAILING, _stuck_message(inputs, rolls, stuck)
    if rolls:
        return ROLLING, f"Replacing pods of {', '.join(rolls)}, as the spec requires"
    return _instances(inputs)


def _instances(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """The instances of a database, which change one after the other."""
    replication = inputs.desired.replication if inputs.desired is not None else None
    if replication is None:
        return None
    step, count = replication.step, inputs.cluster.database.instances if inputs.cluster is not None else 0
    if step.waits_for:
        names = ", ".join(str(number) for number in step.waits_for)
        found = f"Instances of the database wait for instance {names} to be ready before they change"
        stuck = troubles(inputs, "postgres")
        return (ROLLOUT_FAILING if stuck else ROLLING), "; ".join([found, *stuck[:SHOWN]])
    happens = {
        f"Instance {step.switch_to} becomes the leader of the database": step.switch_to is not None,
        f"Instance {step.remove} of the database is removed, as the spec requires": step.remove is not None,
        "Replacing instances of the database one after the other, as the spec requires": bool(step.replace),
        "The instances of the database are created once the first one leads": len(replication.instances) < count,
    }
    return next(((ROLLING, message) for message, true in happens.items() if true), None)


def _desired(inputs: ConditionInputs, part: Part) -> bool:
    if part == "bus":
        return inputs.desired is not None and inputs.desired.bus.pods is not None
    if part == "backup":
        return inputs.desired is not None and inputs.desired.backup is not None
    return part != "postgres" or not inputs.external


def _exists(inputs: ConditionInputs, part: Part) -> bool:
    return inputs.observed.workload(inputs.name, part) is not None


def _stuck_message(inputs: ConditionInputs, moving: Sequence[Part], troubles: Sequence[str]) -> str:
    found = "; ".join([f"New pods of {', '.join(moving)} do not become ready", *troubles[:SHOWN]])
    return f"{found}. {remedy(inputs, moving)}"
