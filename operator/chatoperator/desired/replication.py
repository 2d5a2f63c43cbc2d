"""A database of several instances: which of them change now, who leads, and what Patroni is given. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.desired.database import had_database, volume_of
from chatoperator.kube.objects import annotation, rolling
from chatoperator.metadata import (
    GROUP,
    INSTANCES_MAX,
    TEMPLATE_HASH_ANNOTATION,
    claim_name,
    database_name,
    member_name,
    patroni_name,
)
from chatoperator.parts.database.replication import members as manifests
from chatoperator.parts.database.replication import order, patroni
from chatoperator.parts.database.replication.order import Member
from chatoperator.parts.remembered import allowed, is_bound, recorded

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.desired.database import Volume
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.database.replication.order import InstanceChange

SWITCHOVER_ANNOTATION = f"{GROUP}/switchover"
"""On the ChatCluster: each new value is one switchover; `TEXT` to any instance, `TEXT/NUMBER` to that one. On Patroni's
ConfigMap: the last value that was followed."""


@dataclass(frozen=True)
class Instance:
    """One instance, as it should be now.

    Attributes:
        number: From 1.
        volume: Its claim, as it is.
        applied: Its StatefulSet is applied: it does not exist, has the desired template, or is to get it now.
    """

    number: int
    volume: Volume
    applied: bool


@dataclass(frozen=True)
class Switchover:
    """What is written for Patroni.

    Attributes:
        leader: The member that leads.
        candidate: The member that is to lead.
        request: The admin's value that is followed by it; None where the operator itself needs it.
    """

    leader: str
    candidate: str
    request: str | None = None


@dataclass(frozen=True)
class Replication:
    """The instances, as they should be now.

    Attributes:
        instances: By number.
        step: What may happen now.
        strict: No write is acknowledged that only the leader has.
        synchronous: Commits wait for replicas, if there are any or it is strict.
        begin: There has never been a database: instance 1 may begin one on an empty volume.
        has_leader: Some pod has the leader's label.
        leader: The member that leads; None where none is known to.
        switchover: What is to be requested of Patroni now; None where nothing is, or a request is there already.
        forgets: The database that Patroni remembers is gone for ever, with the admin's consent.
    """

    instances: tuple[Instance, ...]
    step: InstanceChange
    strict: bool
    begin: bool
    has_leader: bool
    leader: str | None = None
    switchover: Switchover | None = None
    forgets: bool = False
    synchronous: bool = True

    @property
    def volume_size(self) -> str | None:
        """Of the first instance's volume."""
        return self.instances[0].volume.size


def existing(cluster_name: str, observed: Observed) -> list[int]:
    """Numbers of the instances that have a StatefulSet, ascending."""
    return [
        number
        for number in range(1, INSTANCES_MAX + 1)
        if observed.child("StatefulSet", database_name(cluster_name, number)) is not None
    ]


def is_replicated(cluster: ChatCluster, observed: Observed) -> bool:
    """Whether Patroni runs the database: also while instances that the spec no longer requires are there."""
    if cluster.database.external is not None:
        return False
    return cluster.database.instances > 1 or any(number > 1 for number in existing(cluster.name, observed))


def decide(
    cluster: ChatCluster,
    body: Manifest,
    observed: Observed,
    *,
    config_digest: str,
    image: str,
    pull_policy: str,
    held: bool,
) -> Replication:
    """Decide it.

    Args:
        cluster: The parsed spec.
        body: The whole ChatCluster; an annotation requests a switchover.
        observed: Its children and what the agents report.
        config_digest: Changes with the parameters that only a restart brings.
        image: To run.
        pull_policy: imagePullPolicy.
        held: Pods keep their templates: the migration has not shown yet that the image and its Secrets are right.
    """
    state, there = patroni.read(cluster.name, observed), existing(cluster.name, observed)
    count, found = cluster.database.instances, list[Member]()
    for number in there:
        made = manifests.stateful_set(
            cluster, number, image=image, pull_policy=pull_policy, config_digest=config_digest
        )
        alone = there == [number]
        found.append(_member(cluster.name, number, observed, state, alone=alone, template=template_hash(made)))
    request = _request(cluster, body, observed)
    step = order.decide(found, count=count, switch_to=_target(request))
    leads = next((one for one in found if one.leads and one.ready), None)
    applied = {one.instance for one in found if one.updated} | (frozenset() if held else step.replace)
    # Copies are made of a leader that Patroni runs; an instance that has data may be what is needed for one.
    begun = leads is not None and leads.updated and state.leader == member_name(cluster.name, leads.instance)
    for number in set(range(1, count + 1)) - set(there):
        claim = observed.child("PersistentVolumeClaim", claim_name(cluster.name, number))
        # An old copy must not lead before the one that was in use until now.
        had_leader = state.leader is not None and claim is not None and is_bound(claim)
        if number == 1 or begun or had_leader:
            applied.add(number)
    applied -= {step.remove}
    leader = member_name(cluster.name, leads.instance) if leads is not None else None
    has_replica = any(one.ready and not one.leads for one in found)
    # Not before the first copy is made, which may take hours; from then on whatever becomes of the replicas.
    strict = cluster.database.strict and (state.strict or has_replica)
    return Replication(
        instances=tuple(
            Instance(number, volume_of(cluster, observed, number), number in applied)
            for number in sorted({*there, *(number for number in range(1, count + 1) if number in applied)})
        ),
        step=step,
        strict=strict,
        # A strict Patroni has PostgreSQL wait for any replica while none is there, and leaves that so when it is no
        # longer strict, until the first replica comes: so for that time nothing is waited for at all.
        synchronous=strict or has_replica or (state.synchronous and not state.strict),
        begin=not _has_begun(cluster.name, body, observed, state),
        has_leader=any(pod.role == manifests.PRIMARY for pod in observed.component("postgres")),
        leader=leader,
        switchover=_switchover(cluster, state, step, leader, request),
        forgets=_is_lost_for_ever(cluster.name, body, observed) and state.begun and leader is None,
    )


def leftovers(cluster: ChatCluster, observed: Observed) -> tuple[str, ...]:
    """Patroni's ConfigMaps whose state is to be removed: the one instance runs without Patroni again."""
    live = observed.child("StatefulSet", database_name(cluster.name))
    if live is None or cluster.database.external is not None or rolling(live) or template_hash(live) is not None:
        return ()
    return patroni.leftovers(cluster.name, observed)


def template_hash(stateful_set: Manifest | None) -> str | None:
    """The pod template with which a StatefulSet was applied last; None of one that Patroni does not run."""
    return annotation(stateful_set, TEMPLATE_HASH_ANNOTATION)


def _member(
    cluster_name: str,
    number: int,
    observed: Observed,
    state: patroni.PatroniState,
    *,
    alone: bool,
    template: str | None,
) -> Member:
    live, name = observed.child("StatefulSet", database_name(cluster_name, number)), member_name(cluster_name, number)
    pod = next((one for one in observed.component("postgres") if one.name == name), None)
    report = observed.agents.get(name)
    seen = report.member if report is not None else None
    # The one PostgreSQL that there was before.
    leads = state.leader == name or alone
    works = pod is not None and pod.ready and not pod.terminating and not rolling(live)
    return order.Member(
        number,
        leads=leads,
        ready=works and (leads or (seen is not None and seen.streams)),
        updated=template_hash(live) == template,
        refused=report is not None and report.refused is not None,
        synchronous=name in state.standbys,
        lag_bytes=seen.lag_bytes if seen is not None else None,
    )


def _has_begun(cluster_name: str, body: Manifest, observed: Observed, state: patroni.PatroniState) -> bool:
    """Whether there is, or has been, a database: then an empty volume is filled from another instance."""
    copies = [
        observed.child("PersistentVolumeClaim", claim_name(cluster_name, number))
        for number in range(2, INSTANCES_MAX + 1)
    ]
    if any(claim is not None and is_bound(claim) for claim in copies) or state.begun:
        return True
    return had_database(cluster_name, body, observed)


def _is_lost_for_ever(cluster_name: str, body: Manifest, observed: Observed) -> bool:
    """Whether an admin has allowed an empty database in place of the lost one, and no copy is left."""
    claims = [("PersistentVolumeClaim", claim_name(cluster_name, number)) for number in range(1, INSTANCES_MAX + 1)]
    left = [claim for key in claims if (claim := observed.child(*key)) is not None and is_bound(claim)]
    return not left and recorded(body).get(claims[0]) in allowed(body)


def _request(cluster: ChatCluster, body: Manifest, observed: Observed) -> str | None:
    """The admin's value that has not been followed yet."""
    value = annotation(body, SWITCHOVER_ANNOTATION)
    live = observed.child("ConfigMap", patroni_name(cluster.name, patroni.FAILOVER))
    return None if not value or value == annotation(live, SWITCHOVER_ANNOTATION) else value


def _target(request: str | None) -> int | None:
    if request is None:
        return None
    number = request.rpartition("/")[2]
    return int(number) if "/" in request and number.isdecimal() and len(number) == 1 else order.ANY


def _switchover(
    cluster: ChatCluster, state: patroni.PatroniState, step: InstanceChange, leader: str | None, request: str | None
) -> Switchover | None:
    if step.switch_to is None or leader is None or state.switching:
        return None
    # Whatever the reason is, somebody else leads after it: that is what the admin requested.
    return Switchover(leader, member_name(cluster.name, step.switch_to), request)
