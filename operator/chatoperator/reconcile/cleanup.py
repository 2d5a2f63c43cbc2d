"""Deletes objects that are no longer desired: migrate Jobs of other images, and objects that a spec had before."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import structlog

from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.kube.objects import job_state, rolling
from chatoperator.kube.ownership import INSTANCES, is_child, is_migrate_job, own_names
from chatoperator.metadata import database_name, part_name, workload_key
from chatoperator.reporting.events import EventContent

if TYPE_CHECKING:
    from collections.abc import Collection

    from chatoperator.desired import Desired
    from chatoperator.desired.migration import SchemaMigration
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import Observed
    from chatoperator.reconcile.outcome import Outcome

REMOVED = frozenset({"NetworkPolicy", "Service", "Ingress", ROUTE, CERTIFICATE})
"""Kinds of which some are desired with one spec and not with another. Of Deployments only the probe's is, of
StatefulSets the bus's and those of the database beside the first."""

RIGHTS = frozenset({"RoleBinding", "Role", "ServiceAccount"})
"""Of the members of a replicated database: they go when no pod has that account any more."""

NOT_DESIRED = "deleted, because the spec no longer requires it"

MIGRATE_RETRY_SECONDS = 60
"""A failed migrate Job is kept this long for its logs, then recreated."""

log = structlog.get_logger(__name__)


async def delete_jobs(kube: Kube, desired: Desired, observed: Observed, now: dt.datetime) -> None:
    """Delete the migrate Jobs that are not needed any more.

    Raises:
        KubeError: The API server refused it.
    """
    for job in unneeded_jobs(desired, observed, now):
        await _delete(kube, desired, "Job", job)


def unneeded_jobs(desired: Desired, observed: Observed, now: dt.datetime) -> list[Manifest]:
    """Migrate Jobs of other images, and a failed one after a while: it is tried again.

    The last one that succeeded stays until the desired one has, too. One that has not would be retried, and could
    still change the schema for an image that is not desired any more.
    """
    return [
        child
        for (kind, name), child in observed.children.items()
        if kind == "Job"
        and is_child(child, desired.cluster.uid)
        and is_migrate_job(desired.cluster.name, name)
        and (_is_stale(child, desired.migration) or _failed_seconds(child, now) > MIGRATE_RETRY_SECONDS)
    ]


async def delete_undesired(
    kube: Kube, desired: Desired, observed: Observed, names: Collection[ObjectKey], outcome: Outcome
) -> None:
    """Delete what the spec does not require any more and would still have an effect: a policy would still deny.

    Nothing is deleted before what takes its place is there.

    Args:
        kube: The API server.
        desired: What this reconcile requires.
        observed: The children.
        names: (kind, name) of all desired objects.
        outcome: Gets an Event for each deletion.

    Raises:
        KubeError: The API server refused it.
    """
    if outcome.has_refused(REMOVED) or desired.withheld:
        return
    for (kind, name), child in undesired(desired, observed, names).items():
        await _delete(kube, desired, kind, child)
        outcome.events.append(EventContent(warning=False, reason="Removed", message=f"{kind} {name}: {NOT_DESIRED}"))


def undesired(desired: Desired, observed: Observed, names: Collection[ObjectKey]) -> dict[ObjectKey, Manifest]:
    """Children to delete: only what the ChatCluster controls and the operator itself names; others copy labels."""
    name = desired.cluster.name
    ours = own_names(name) - frozenset(names)
    bus = part_name(name, "bus")
    workloads = {workload_key(name, part) for part in ("probe", "bus", "backup")}
    step = desired.replication.step if desired.replication is not None else None
    if step is not None and step.remove is not None:
        workloads.add(("StatefulSet", database_name(name, step.remove)))
    removed = REMOVED if _has_account(name, observed) else REMOVED | RIGHTS
    return {
        key: child
        for key, child in observed.children.items()
        if (key[0] in removed or key in workloads)
        and key in ours
        and is_child(child, desired.cluster.uid)
        and not (desired.bus.leaving and key[1] == bus)
    }


def _has_account(name: str, observed: Observed) -> bool:
    """Whether a pod of the database may have the account of the members."""
    databases = [observed.child("StatefulSet", database_name(name, number)) for number in INSTANCES]
    return any(
        rolling(live) or live["spec"]["template"]["spec"].get("serviceAccountName") == part_name(name, "postgres")
        for live in databases
        if live is not None
    )


async def _delete(kube: Kube, desired: Desired, kind: str, child: Manifest) -> None:
    await kube.delete(kind, child)
    cluster = desired.cluster
    log.info("deleted", namespace=cluster.namespace, name=cluster.name, kind=kind, child=child["metadata"]["name"])


def _is_stale(job: Manifest, migration: SchemaMigration) -> bool:
    if migration.superseded:
        return bool(job["metadata"]["name"] == migration.job_name)
    other = migration.job_name is not None and job["metadata"]["name"] != migration.job_name
    return other and (migration.done or job_state(job) != "Complete")


def _failed_seconds(job: Manifest, now: dt.datetime) -> float:
    """Seconds since a Job failed; 0 where it has not."""
    if job_state(job) != "Failed":
        return 0
    times = [c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] == "Failed"]
    return (now - dt.datetime.fromisoformat(times[0])).total_seconds()
