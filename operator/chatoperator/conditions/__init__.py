"""The conditions of a ChatCluster: what works, what does not, and what to do about it. Pure.

One file for each type of status.conditions, named after it: its declaration (what it means, its reasons, which Events
they make) and the function that computes it. `make docs` writes the tables of docs/operations/conditions.md from the
declarations. The other files are shared: address and workloads by several types; changes, migration, names and rollout
are parts of Progressing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import (
    backed_up,
    bus_ready,
    chatserver_ready,
    client_addresses_shared,
    contested,
    data_safe,
    database_ready,
    database_replicated,
    database_restored,
    development_codes,
    hostname_conflict,
    ingress_ready,
    paused,
    progressing,
    ready,
    restore_tested,
    scaling_active,
    scaling_limited,
    upgrade_available,
)
from chatoperator.conditions.declared import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.conditions.declared import Condition, ConditionType
    from chatoperator.conditions.inputs import ConditionInputs

TYPES = tuple(
    module.TYPE
    for module in (
        ready,
        database_ready,
        chatserver_ready,
        ingress_ready,
        progressing,
        data_safe,
        database_replicated,
        backed_up,
        database_restored,
        restore_tested,
        bus_ready,
        scaling_active,
        scaling_limited,
        paused,
        development_codes,
        upgrade_available,
        hostname_conflict,
        client_addresses_shared,
        contested,
    )
)
"""All types, in the order in which status lists them."""

OPTIONAL = frozenset({kind.TYPE.name for kind in (database_replicated, backed_up, database_restored, restore_tested)})
"""Types that a ChatCluster has with some specs only."""

_TYPES: dict[str, ConditionType] = {kind.name: kind for kind in TYPES}

_LEVELS: dict[str, Level] = {reason.name: reason.level for kind in TYPES for reason in kind.reasons}


def conditions(inputs: ConditionInputs) -> tuple[Condition, ...]:
    """All conditions, in the order of TYPES; without a valid spec only those that do not need it."""
    parts = (database_ready.condition(inputs), chatserver_ready.condition(inputs), ingress_ready.condition(inputs))
    made = [ready.condition(inputs, parts), *parts, progressing.condition(inputs), data_safe.condition(inputs)]
    replication = inputs.desired.replication if inputs.desired is not None else None
    if replication is not None:
        made.append(database_replicated.condition(inputs, replication))
    cluster = inputs.cluster
    if inputs.desired is not None and inputs.desired.backup is not None and cluster is not None:
        spec = cluster.database.backup
        made += [backed_up.condition(inputs, inputs.desired.backup, spec)] if spec is not None else []
        made += [restore_tested.condition(inputs)] if spec is not None and spec.drill is not None else []
    if inputs.desired is not None and inputs.desired.restoration is not None:
        made.append(database_restored.condition(inputs.desired.restoration))
    if cluster is not None:
        made += [
            bus_ready.condition(inputs, cluster),
            scaling_active.condition(inputs, cluster),
            scaling_limited.condition(inputs, cluster),
            paused.condition(cluster),
            development_codes.condition(cluster),
            upgrade_available.condition(inputs),
            hostname_conflict.condition(inputs),
            client_addresses_shared.condition(cluster),
            contested.condition(inputs),
        ]
    return tuple(made)


def ended(inputs: ConditionInputs) -> frozenset[str]:
    """Types that status loses where they are not made: without a valid spec most are not, and stay as they were."""
    return OPTIONAL if inputs.desired is not None else frozenset()


def level(reason: str) -> Level:
    """How a reason appears in Events; STATE for one that another release of the operator has written."""
    return _LEVELS.get(reason, Level.STATE)


def is_bad(held: Mapping[str, str]) -> bool:
    """Whether a condition, as status holds it, has the bad status of its type; False for types of other releases."""
    kind = _TYPES.get(held["type"])
    return kind is not None and held["status"] == kind.bad


def is_warning(held: Mapping[str, str]) -> bool:
    """Whether a transition to a condition, as status holds it, is a Warning."""
    kind = _TYPES.get(held["type"])
    return kind is not None and kind.is_warning(level(held["reason"]), held["status"])
