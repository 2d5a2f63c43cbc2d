"""DatabaseReplicated: whether what is acknowledged is on a second instance. Only of a database of several instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import workloads
from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.parts.database.replication import patroni

if TYPE_CHECKING:
    from collections.abc import Collection

    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.desired.replication import Replication

REPLICATED = Reason(
    "Replicated",
    ("True",),
    "Every instance has a copy of the database, and each acknowledged message is on at least two of them",
)
COPYING = Reason(
    "Copying",
    ("False",),
    "Each acknowledged message is on at least two instances, but not every instance has a copy: one starts, or copies "
    "the database. The message names them. If it lasts, read the logs of their pods",
    Level.STEP,
)
ONE_COPY = Reason(
    "OneCopy",
    ("False",),
    "Acknowledged messages are on one instance only, because no replica follows it and `database.strict` is false. If "
    "its volume is lost now, they are lost. The message says why the replicas are not ready",
    Level.WARNING,
)
WRITES_STOPPED = Reason(
    "WritesStopped",
    ("False",),
    "No replica follows the leader, and with `database.strict` no message is acknowledged before a second instance has "
    "it: sends wait and fail, reads work. Bring a replica back; the message says why none is ready",
    Level.WARNING,
)
NO_LEADER = Reason(
    "NoLeader",
    ("False",),
    "No instance takes writes. After the loss of a leader this lasts up to 30 s. If it lasts longer, the message says "
    "why the instances are not ready",
)

TYPE = ConditionType(
    "DatabaseReplicated",
    bad="False",
    summary="What is acknowledged is on a second instance of the database.\n"
    "A ChatCluster has this condition only with `database.instances` of 2 or more.",
    reasons=(REPLICATED, COPYING, ONE_COPY, WRITES_STOPPED, NO_LEADER),
)


def condition(inputs: ConditionInputs, replication: Replication) -> Condition:
    """DatabaseReplicated."""
    state = patroni.read(inputs.name, inputs.observed)
    following = _following(inputs)
    count = inputs.cluster.database.instances if inputs.cluster is not None else len(replication.instances)
    why = "".join(f"; {trouble}" for trouble in workloads.troubles(inputs, "postgres")[: workloads.SHOWN])
    if replication.leader is None:
        return TYPE.condition(NO_LEADER, f"No instance of the database takes writes{why}")
    leads = f"{replication.leader} leads"
    missing = count - 1 - len(following - {replication.leader})
    if state.leader is None or (state.standbys & following and missing > 0):
        return TYPE.condition(
            COPYING, f"{leads}, {_listed(following)} it, and {missing} of {count} instances have no copy yet{why}"
        )
    if not state.standbys & following:
        if replication.strict:
            message = f"{leads}, but no replica follows it, so that no message is acknowledged (database.strict){why}"
            return TYPE.condition(WRITES_STOPPED, message)
        return TYPE.condition(ONE_COPY, f"{leads}, but no replica follows it: its volume has the only copy{why}")
    return TYPE.condition(REPLICATED, f"{leads}, and {_listed(following)} it")


def _following(inputs: ConditionInputs) -> set[str]:
    """Replicas that get WAL as it is written."""
    reports = inputs.observed.agents
    return {name for name, one in reports.items() if one is not None and one.member is not None and one.member.streams}


def _listed(names: Collection[str]) -> str:
    if not names:
        return "no replica follows"
    return ", ".join(sorted(names)) + (" follows" if len(names) == 1 else " follow")
