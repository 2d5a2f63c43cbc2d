"""Writes what differs: children by server-side apply, touched pods, old Jobs, and what is no longer wished for."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import structlog

from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.kube.ownership import is_child, is_migrate_job, own_names
from chatoperator.metadata import (
    CERTIFICATE_HASH_ANNOTATION,
    CREDENTIALS_HASH_ANNOTATION,
    database_secret_name,
    digest,
    part_name,
    tls_secret_name,
)
from chatoperator.observed import job_state
from chatoperator.reconcile import eviction
from chatoperator.reconcile.apply import Applier
from chatoperator.reconcile.scale import mark_victims
from chatoperator.reporting.events import News

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import Observed, Pod
    from chatoperator.reconcile.digests import Wish
    from chatoperator.reconcile.outcome import Outcome
    from chatoperator.reconcile.plan import Plan
    from chatoperator.reconcile.state import State

REMOVED = frozenset({"NetworkPolicy", "Service", "Ingress", ROUTE, CERTIFICATE})
"""Kinds of which some are wished for today and not tomorrow."""

NOT_WANTED = "deleted, because the spec no longer requires it"

MIGRATE_RETRY_SECONDS = 60
"""A failed migrate Job is kept this long for its logs, then made anew."""

log = structlog.get_logger(__name__)


class Actor:
    """Brings the children to what a plan wishes.

    Args:
        kube: The API server.
        cache: Told what the API server answered.
        monotonic: Seconds that never go back, for intervals.
        now: The time with its zone, to compare with the API server's.
    """

    def __init__(
        self, kube: Kube, cache: Cache, *, monotonic: Callable[[], float], now: Callable[[], dt.datetime]
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._now = now
        self._applier = Applier(kube, cache, monotonic=monotonic)

    async def act(self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State, outcome: Outcome) -> None:
        """Apply what differs. A refused object does not keep the others from being repaired; the outcome gets it.

        A step that relies on another one waits until that has succeeded.
        """
        with outcome.collecting():
            # First of all: from the new number on, Kubernetes removes servers at once.
            await mark_victims(self._kube, self._cache, cluster, observed, plan.inputs.replicas, state)
        if outcome.failures:
            # The wrong servers would go.
            plan = plan.with_replicas(_replicas(cluster, observed, plan))
        await self._applier.apply_all(cluster, observed, plan, state, outcome)
        with outcome.collecting():
            await self._refresh_mounts(cluster, observed, plan, outcome)
        with outcome.collecting():
            await self._refresh_certificate(cluster, observed, plan, outcome)
        with outcome.collecting():
            await eviction.allow(self._kube, self._cache, cluster, observed)
        with outcome.collecting():
            await self._tidy_jobs(cluster, observed, plan)
        with outcome.collecting():
            await self._remove_unwished(cluster, observed, plan, state, outcome)

    def pending(
        self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State, outcome: Outcome
    ) -> dict[ObjectKey, Wish]:
        """What is to be applied, by (kind, name)."""
        return self._applier.pending(cluster, observed, plan, state, outcome)

    async def _refresh_mounts(self, cluster: ChatCluster, observed: Observed, plan: Plan, outcome: Outcome) -> None:
        """Touch running pods after a change of what they re-read in place, so that kubelet brings it at once."""
        if cluster.database.external_secret_name is not None:
            return
        credentials = plan.inputs.credentials
        mounted = {
            "chatserver": ("Secret", database_secret_name(cluster.name)),
            "postgres": ("ConfigMap", part_name(cluster.name, "postgres")),
        }
        wanted = {
            "chatserver": credentials.dsn_digest,
            "postgres": digest([credentials.revision, credentials.dsn_digest, plan.config_revision]),
        }
        # What was not written is not there to be brought, and the mark would say that it was.
        if outcome.refused.keys() & mounted.values() or plan.inputs.withheld & set(mounted.values()):
            return
        for pod in observed.pods:
            mark = wanted.get(pod.component)
            if mark is not None and not pod.terminating and pod.credentials_digest != mark:
                await self._touch(cluster, pod, {CREDENTIALS_HASH_ANNOTATION: mark})

    async def _refresh_certificate(
        self, cluster: ChatCluster, observed: Observed, plan: Plan, outcome: Outcome
    ) -> None:
        """Touch running HAProxy pods after a new certificate, likewise."""
        wanted = plan.inputs.tls_digest
        if ("Secret", tls_secret_name(cluster.name)) in outcome.refused.keys() | plan.inputs.withheld:
            return
        for proxy in observed.component("ingress"):
            if wanted is not None and not proxy.terminating and proxy.certificate_digest != wanted:
                await self._touch(cluster, proxy, {CERTIFICATE_HASH_ANNOTATION: wanted})

    async def _touch(self, cluster: ChatCluster, pod: Pod, annotations: Mapping[str, str]) -> None:
        self._cache.note(await self._kube.annotate("Pod", cluster.namespace, pod.name, annotations))

    async def _tidy_jobs(self, cluster: ChatCluster, observed: Observed, plan: Plan) -> None:
        """Remove the migrate Jobs of images that are not wanted, and a failed one after a while: it is tried again.

        The last one that succeeded stays until the wanted one has, too. One that has not would go on trying, and could
        still change the schema for an image that nobody wants any more.
        """
        for (kind, name), child in observed.children.items():
            if kind != "Job" or not is_child(child, cluster.uid) or not is_migrate_job(cluster.name, name):
                continue
            other = plan.job_name is not None and name != plan.job_name
            stale = other and (plan.migrated or job_state(child) != "Complete")
            if stale or (job_state(child) == "Failed" and self._failed_for(child) > MIGRATE_RETRY_SECONDS):
                await self._kube.delete("Job", child)
                log.info("deleted", namespace=cluster.namespace, name=cluster.name, kind="Job", child=name)

    async def _remove_unwished(
        self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State, outcome: Outcome
    ) -> None:
        """Remove what is no longer wished for and would go on acting: what a policy denies would stay denied.

        Only what the ChatCluster controls and the operator itself names: others copy labels, and whole objects. Nothing
        goes before what takes its place is there.
        """
        if outcome.has_refused(REMOVED) or plan.inputs.withheld:
            return
        wanted = {(wish.kind, wish.name) for wish in state.wished(cluster, plan.inputs)}
        ours = own_names(cluster.name)
        for key, child in observed.children.items():
            kind, name = key
            if kind in REMOVED and key in ours and key not in wanted and is_child(child, cluster.uid):
                await self._kube.delete(kind, child)
                log.info("deleted", namespace=cluster.namespace, name=cluster.name, kind=kind, child=name)
                outcome.news.append(News(warning=False, reason="Removed", message=f"{kind} {name}: {NOT_WANTED}"))

    def _failed_for(self, job: Manifest) -> float:
        """Seconds since a Job failed."""
        times = [c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] == "Failed"]
        return (self._now() - dt.datetime.fromisoformat(times[0])).total_seconds()


def _replicas(cluster: ChatCluster, observed: Observed, plan: Plan) -> int:
    """Chatservers that the Deployment asks for now."""
    live = observed.workload(cluster.name, "chatserver")
    return plan.inputs.replicas if live is None else int(live["spec"].get("replicas", 1))
