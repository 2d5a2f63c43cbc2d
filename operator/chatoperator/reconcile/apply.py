"""Brings objects to what a plan says by server-side apply; a refused one does not keep the others from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import KubeError
from chatoperator.kube.client import CONFLICT
from chatoperator.kube.contest import WRITERS_FIELD, differing, is_held, overruled, undone
from chatoperator.parts.manifests import desired
from chatoperator.parts.needs import needs
from chatoperator.reconcile.claim import keep_claim
from chatoperator.reconcile.digests import content
from chatoperator.reconcile.state import Applied, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import Observed
    from chatoperator.reconcile.digests import Wish
    from chatoperator.reconcile.outcome import Outcome
    from chatoperator.reconcile.plan import Plan
    from chatoperator.reconcile.state import State
    from chatoperator.reporting.events import News

APPLY_ALL_SECONDS = 600
"""Everything is applied this often even where nothing seems to differ: fields that others added to ours are undone."""

CLAIM = "PersistentVolumeClaim"

log = structlog.get_logger(__name__)


class Applier:
    """Applies what differs.

    Args:
        kube: The API server.
        cache: Gets what the API server answered.
        monotonic: Seconds that never go back, for intervals.
    """

    def __init__(self, kube: Kube, cache: Cache, *, monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._cache = cache
        self._monotonic = monotonic

    def pending(
        self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State, outcome: Outcome
    ) -> dict[ObjectKey, Wish]:
        """What is to be applied, by (kind, name); nothing that this reconcile has seen refused."""
        now, found = self._monotonic(), {}
        for wish in state.wished(cluster, plan.inputs):
            key = (wish.kind, wish.name)
            live, last = observed.child(*key), state.applied.get(key)
            if is_held(state.contests.get(key), now) and (last is None or last.digest == wish.digest):
                continue
            refusal = state.claim_refusal if wish.kind == CLAIM else None
            if refusal is not None and refusal.digest == wish.digest and now - refusal.at < APPLY_ALL_SECONDS:
                continue
            if outcome.refused.get(key) == wish.digest:
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

    async def apply_all(
        self, cluster: ChatCluster, observed: Observed, plan: Plan, state: State, outcome: Outcome
    ) -> None:
        """Apply what is pending; the outcome gets the refusals."""
        self._forget_refusal(cluster, plan, state)
        pending = self.pending(cluster, observed, plan, state, outcome)
        for manifest in desired(cluster, plan.inputs) if pending else ():
            key = (manifest["kind"], manifest["metadata"]["name"])
            live = observed.child(*key)
            # A template names the content that pods mount. With content that was refused, it would name what is not
            # there; a workload that is gone is made again even so. A Secret is made from what the other one holds.
            relies = live is not None or key[0] == "Secret"
            waits = relies and any(one in outcome.refused for one in needs(manifest) if one[0] != CLAIM)
            if key not in pending or waits:
                continue
            try:
                news = await self._apply(cluster, manifest, live, pending[key], state)
                outcome.news += [news] if news is not None else []
            except KubeError as error:
                outcome.refuse(key, pending[key].digest, error)
                if error.status == CONFLICT:
                    await self._cache.look_again(key[0], cluster.namespace, key[1])

    async def _apply(
        self, cluster: ChatCluster, manifest: Manifest, live: Manifest | None, wish: Wish, state: State
    ) -> News | None:
        """Apply one object and remember it.

        Returns:
            What deserves an Event.

        Raises:
            KubeError: The API server refused it.
        """
        uid = live["metadata"]["uid"] if live is not None else None
        # A Secret's content comes from the live one. If that is another by now, this would undo its change.
        since = live["metadata"]["resourceVersion"] if live is not None and wish.kind == "Secret" else None
        try:
            applied = await self._kube.apply(manifest, uid=uid, resource_version=since)
        except KubeError as error:
            if wish.kind != CLAIM or live is None:
                raise
            made = await keep_claim(self._kube, self._cache, manifest, live, error, self._monotonic())
            if isinstance(made, Refusal):
                state.claim_refusal = made
                return None
            await self._cache.look_again(CLAIM, cluster.namespace, wish.name)
            return made
        self._cache.note(applied)
        if wish.kind == CLAIM:
            state.claim_refusal = None
        version = applied["metadata"]["resourceVersion"]
        key = (wish.kind, wish.name)
        last, changed = state.applied.get(key), differing(manifest, live, applied)
        if last is not None and last.digest == wish.digest and (live is None or changed):
            who = (live or {}).get("metadata", {}).get(WRITERS_FIELD, ())
            state.contests[key] = undone(state.contests.get(key), self._monotonic(), changed, who)
        state.overruled[key] = overruled(manifest, applied)
        state.applied[key] = Applied(wish.digest, version, content(applied, wish), self._monotonic())
        metrics.APPLIES.labels(kind=wish.kind).inc()
        if live is None or live["metadata"]["resourceVersion"] != version:
            log.info("applied", namespace=cluster.namespace, name=cluster.name, kind=wish.kind, child=wish.name)
        return None

    @staticmethod
    def _forget_refusal(cluster: ChatCluster, plan: Plan, state: State) -> None:
        """Another size or class, such as the one before, has not been refused."""
        desired_claims = {wish.digest for wish in state.wished(cluster, plan.inputs) if wish.kind == CLAIM}
        if state.claim_refusal is not None and state.claim_refusal.digest not in desired_claims:
            state.claim_refusal = None
