"""The conditions of a ChatCluster: what is well, what is not, and what to do about it. One file each. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import (
    chatserver,
    client_addresses,
    contested,
    database,
    development,
    hostnames,
    ingress,
    paused,
    progressing,
    ready,
    safety,
    scaling,
    upgrade,
)

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Condition, Facts


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """All conditions, in the order in which people should read them."""
    parts = (database.condition(facts), chatserver.condition(facts), ingress.condition(facts))
    made = [ready.condition(facts, parts), *parts, progressing.condition(facts), safety.condition(facts)]
    cluster = facts.cluster
    if cluster is not None:
        made += [*scaling.conditions(facts, cluster), paused.condition(cluster), development.condition(cluster)]
        made += [upgrade.condition(facts), hostnames.condition(facts), client_addresses.condition(cluster)]
        made.append(contested.condition(facts))
    return tuple(made)
