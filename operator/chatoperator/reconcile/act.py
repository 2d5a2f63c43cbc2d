"""Writes what differs: children by server-side apply, touched pods, old Jobs, and what is no longer wished for."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import KubeError
from chatoperator.kinds import CERTIFICATE, ROUTE
from chatoperator.kube import CONFLICT
from chatoperator.manifests import desired
from chatoperator.manifests.metadata import (
    CERTIFICATE_HASH_ANNOTATION,
    COMPONENT_LABEL,
    CREDENTIALS_HASH_ANNOTATION,
    digest,
)
from chatoperator.observed import job_state
from chatoperator.reconcile.scale import mark_victims
from chatoperator.reconcile.state import Applied, Refusal
from chatoperator.reconcile.wishes import content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chatoperator.cache import Cache
    from chatoperator.kube import Kube
    from chatoperator.manifests.metadata import Manifest
    from chatoperator.observed import Observed, Pod
    from chatoperator.reconcile.plan import Plan
    from chatoperator.reconcile.state import State
    from chatoperator.reconcile.wishes import Wish
    from chatoperator.spec import ChatCluster

APPLY_ALL_SECONDS = 600
"""Everything is applied this often even where nothing seems to differ: fields that others added to ours are undone."""

REFUSED = frozenset({403, 422})
"""Statuses with which the API server refuses a size: what admission forbids, what validation finds wrong."""

REMOVED = frozenset({"NetworkPolicy", "Service", "Ingress", ROUTE, CERTIFICATE})
"""Kinds of which some are wished for today and not tomorrow."""

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
        self._monotonic = monotonic
        self._now = now

    async def act(self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State) -> KubeError | None:
        """Apply what differs. A refused object does not keep the others from being repaired.

        Returns:
            The first refusal.
        """
        failures: list[KubeError] = []
        for step in (
            # First of all: from the new number on, Kubernetes removes servers at once.
            mark_victims(self._kube, self._cache, cluster, observed, plan.inputs.replicas, state),
            self._apply_all(cluster, observed, plan, state),
            self._refresh_mounts(cluster, observed, plan),
            self._refresh_certificate(cluster, observed, plan),
            self._tidy_jobs(cluster, observed, plan),
            self._remove_unwished(cluster, observed, plan, state),
        ):
            try:
                await step
            except KubeError as error:
                failures.append(error)
        return failures[0] if failures else None

    def pending(
        self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State
    ) -> dict[tuple[str, str], Wish]:
        """What is to be applied, by (kind, name)."""
        now, found = self._monotonic(), {}
        for wish in state.wished(cluster, plan.inputs):
            key = (wish.kind, wish.name)
            live, last = observed.child(*key), state.applied.get(key)
            refusal = state.claim_refusal if wish.kind == "PersistentVolumeClaim" else None
            if refusal is not None and refusal.digest == wish.digest and now - refusal.at < APPLY_ALL_SECONDS:
                continue
            if live is None or last is None or last.digest != wish.digest or now - last.at >= APPLY_ALL_SECONDS:
                found[key] = wish
                continue
            version = live["metadata"]["resourceVersion"]
            if version == last.resource_version:
                continue
            # A status that moves on, a volume that is bound: none of it is the operator's.
            if content(live, wish) == last.content:
                state.applied[key] = replace(last, resource_version=version)
            else:
                found[key] = wish
        return found

    async def _apply_all(self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State) -> None:
        self._forget_refusal(cluster, plan, state)
        pending, failures = self.pending(cluster, observed, plan, state), list[KubeError]()
        for manifest in desired(cluster, plan.inputs) if pending else ():
            key = (manifest["kind"], manifest["metadata"]["name"])
            if key not in pending:
                continue
            live = observed.child(*key)
            try:
                # A Secret's content comes from the live one. If that is another by now, this would undo its change.
                since = live["metadata"]["resourceVersion"] if live is not None and key[0] == "Secret" else None
                applied = await self._kube.apply(manifest, resource_version=since)
            except KubeError as error:
                if key[0] == "PersistentVolumeClaim" and live is not None and error.status in REFUSED:
                    await self._keep_size(manifest, live, error, state)
                    continue
                failures.append(error)
                if error.status == CONFLICT:
                    await self._cache.look_again(key[0], cluster.namespace, key[1])
                continue
            self._cache.note(applied)
            if key[0] == "PersistentVolumeClaim":
                state.claim_refusal = None
            version = applied["metadata"]["resourceVersion"]
            state.applied[key] = Applied(
                pending[key].digest, version, content(applied, pending[key]), self._monotonic()
            )
            metrics.APPLIES.labels(kind=key[0]).inc()
            if live is None or live["metadata"]["resourceVersion"] != version:
                log.info("applied", namespace=cluster.namespace, name=cluster.name, kind=key[0], child=key[1])
        if failures:
            raise failures[0]

    @staticmethod
    def _forget_refusal(cluster: ChatCluster, plan: Plan, state: State) -> None:
        """Another size, such as the one before, has not been refused."""
        wished = state.wished(cluster, plan.inputs)
        claims = {wish.digest for wish in wished if wish.kind == "PersistentVolumeClaim"}
        if state.claim_refusal is not None and state.claim_refusal.digest not in claims:
            state.claim_refusal = None

    async def _keep_size(self, claim: Manifest, live: Manifest, error: KubeError, state: State) -> None:
        """After a refusal to grow: apply all else of the claim, and remember the refusal.

        Raises:
            KubeError: It was not about the size.
        """
        size = live["spec"]["resources"]["requests"]["storage"]
        kept = {**claim, "spec": {**claim["spec"], "resources": {"requests": {"storage": size}}}}
        if kept == claim:
            raise error
        self._cache.note(await self._kube.apply(kept))
        state.claim_refusal = Refusal(digest(claim), _reason(error), self._monotonic())
        log.warning("volume not grown", claim=claim["metadata"]["name"], error=str(error))

    async def _refresh_mounts(self, cluster: ChatCluster, observed: Observed, plan: Plan) -> None:
        """Touch running pods after a change of what they re-read in place, so that kubelet brings it at once."""
        if cluster.database.external_secret_name is not None:
            return
        credentials = plan.inputs.credentials
        wanted = {
            "chatserver": credentials.dsn_digest,
            "postgres": digest([credentials.revision, credentials.dsn_digest, plan.config_revision]),
        }
        for pod in observed.pods:
            mark = wanted.get(pod.component)
            if mark is not None and not pod.terminating and pod.credentials_digest != mark:
                await self._touch(cluster, pod, {CREDENTIALS_HASH_ANNOTATION: mark})

    async def _refresh_certificate(self, cluster: ChatCluster, observed: Observed, plan: Plan) -> None:
        """Touch running HAProxy pods after a new certificate, likewise."""
        wanted = plan.inputs.tls_digest
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
            if kind != "Job" or child["metadata"]["labels"].get(COMPONENT_LABEL) != "migrate":
                continue
            other = plan.job_name is not None and name != plan.job_name
            stale = other and (plan.migrated or job_state(child) != "Complete")
            if stale or (job_state(child) == "Failed" and self._failed_for(child) > MIGRATE_RETRY_SECONDS):
                await self._kube.delete("Job", cluster.namespace, name)
                log.info("deleted", namespace=cluster.namespace, name=cluster.name, kind="Job", child=name)

    async def _remove_unwished(self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State) -> None:
        """Remove what is no longer wished for and would go on acting: what a policy denies would stay denied."""
        wanted = {(wish.kind, wish.name) for wish in state.wished(cluster, plan.inputs)}
        for kind, name in observed.children:
            if kind in REMOVED and (kind, name) not in wanted:
                await self._kube.delete(kind, cluster.namespace, name)
                log.info("deleted", namespace=cluster.namespace, name=cluster.name, kind=kind, child=name)

    def _failed_for(self, job: Manifest) -> float:
        """Seconds since a Job failed."""
        times = [c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] == "Failed"]
        return (self._now() - dt.datetime.fromisoformat(times[0])).total_seconds()


def _reason(error: KubeError) -> str:
    """The API server's own words, without the request."""
    return str(error).rsplit(" is forbidden: ", maxsplit=1)[-1]
