"""The conditions of a ChatCluster: what is well, what is not, and what to do about it. One file each. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import (
    chatserver_ready,
    client_addresses_shared,
    contested,
    data_safe,
    database_ready,
    development_codes,
    hostname_conflict,
    ingress_ready,
    paused,
    progressing,
    ready,
    scaling_active,
    upgrade_available,
)

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Condition, Facts


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """All conditions, in the order in which people should read them."""
    parts = (database_ready.condition(facts), chatserver_ready.condition(facts), ingress_ready.condition(facts))
    made = [ready.condition(facts, parts), *parts, progressing.condition(facts), data_safe.condition(facts)]
    cluster = facts.cluster
    if cluster is not None:
        made += [
            *scaling_active.conditions(facts, cluster),
            paused.condition(cluster),
            development_codes.condition(cluster),
        ]
        made += [
            upgrade_available.condition(facts),
            hostname_conflict.condition(facts),
            client_addresses_shared.condition(cluster),
        ]
        made.append(contested.condition(facts))
    return tuple(made)
