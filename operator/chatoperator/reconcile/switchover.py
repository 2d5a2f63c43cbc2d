"""Requests a switchover of Patroni, by its own ConfigMap: the operator needs no password for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from chatoperator.desired.replication import SWITCHOVER_ANNOTATION
from chatoperator.kube.kept import PATRONIS_ANNOTATIONS
from chatoperator.metadata import patroni_name
from chatoperator.parts.database.replication.patroni import (
    CANDIDATE_ANNOTATION,
    CONFIG,
    FAILOVER,
    INITIALIZE_ANNOTATION,
    LEADER_ANNOTATION,
    STATE_ANNOTATIONS,
)
from chatoperator.reporting.events import EventContent

if TYPE_CHECKING:
    from chatoperator.desired import Desired
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.reconcile.outcome import Outcome

log = structlog.get_logger(__name__)


async def request(kube: Kube, cache: Cache, desired: Desired, outcome: Outcome) -> None:
    """Write what Patroni is to do now: another leader, or to forget a database that is lost for ever, or itself.

    Raises:
        KubeError: The API server refused it.
    """
    made, cluster = desired.replication, desired.cluster
    for name in desired.leftovers:
        nothing = dict.fromkeys((*STATE_ANNOTATIONS, *PATRONIS_ANNOTATIONS))
        cache.note(await kube.annotate("ConfigMap", cluster.namespace, name, nothing))
    if made is None:
        return
    if made.forgets:
        name = patroni_name(cluster.name, CONFIG)
        cache.note(await kube.annotate("ConfigMap", cluster.namespace, name, {INITIALIZE_ANNOTATION: None}))
    if made.switchover is None:
        return
    leader, candidate, value = made.switchover.leader, made.switchover.candidate, made.switchover.request
    annotations: dict[str, str | None] = {LEADER_ANNOTATION: leader, CANDIDATE_ANNOTATION: candidate}
    if value is not None:
        annotations[SWITCHOVER_ANNOTATION] = value
    name = patroni_name(cluster.name, FAILOVER)
    cache.note(await kube.annotate("ConfigMap", cluster.namespace, name, annotations))
    log.info("switchover", namespace=cluster.namespace, name=cluster.name, was=leader, now=candidate)
    why = "as requested" if value is not None else "so that its pod can be replaced or removed"
    message = f"Patroni makes {candidate} the leader of the database in place of {leader}, {why}"
    outcome.events.append(EventContent(warning=False, reason="Switchover", message=message))
