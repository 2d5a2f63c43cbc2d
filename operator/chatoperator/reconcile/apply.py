"""Applies the desired objects that differ from the live ones; a refused one does not keep the others from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import KubeError
from chatoperator.kube.client import CONFLICT
from chatoperator.kube.contest import WRITERS_FIELD, differing, is_held, overruled, undone
from chatoperator.metadata import backup_claim_name
from chatoperator.parts.database.trouble import ClaimRefusal
from chatoperator.parts.needs import needs
from chatoperator.reconcile.claim import keep_claim
from chatoperator.reconcile.digests import content
from chatoperator.reconcile.scale import live_number, mark_victims
from chatoperator.reconcile.state import Applied

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.desired import Desired
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import Observed
    from chatoperator.reconcile.digests import ObjectDigest
    from chatoperator.reconcile.outcome import Outcome
    from chatoperator.reconcile.state import State
    from chatoperator.reporting.events import EventContent

APPLY_ALL_SECONDS = 600
"""Everything is applied this often even where nothing seems to differ: fields that others added to ours are undone."""

CLAIM = "PersistentVolumeClaim"

log = structlog.get_logger(__name__)


class Applier:
    """Applies what differs.

    Args:
        kube: The API server.
        cache: Gets the answers of the API server.
        monotonic: Seconds that never go back, for intervals.
    """

    def __init__(self, kube: Kube, cache: Cache, *, monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._cache = cache
        self._monotonic = monotonic

    def pending(
        self, desired: Desired, observed: Observed, state: State, outcome: Outcome
    ) -> dict[ObjectKey, ObjectDigest]:
        """What is to be applied, by (kind, name); nothing that this reconcile has seen refused."""
        now, found = self._monotonic(), {}
        for one in state.rendered(desired).digests:
            key = one.key
            live, last = observed.child(*key), state.applied.get(key)
            if is_held(state.contests.get(key), now) and (last is None or last.digest == one.digest):
                continue
            refusal = state.claim_refusal if one.kind == CLAIM else None
            if refusal is not None and refusal.digest == one.digest and now - refusal.at < APPLY_ALL_SECONDS:
                continue
            if outcome.refused.get(key) == one.digest:
                continue
            if live is None or last is None or last.digest != one.digest or now - last.at >= APPLY_ALL_SECONDS:
                found[key] = one
                continue
            version = live["metadata"]["resourceVersion"]
            if version == last.resource_version:
                continue
            # A status that moves on, a volume that is bound: none of it is the operator's.
            if content(live, one) == last.content:
                state.applied[key] = replace(last, resource_version=version)
            else:
                found[key] = one
        return found

    async def apply_all(self, desired: Desired, observed: Observed, state: State, outcome: Outcome) -> Desired:
        """Apply what is pending; the outcome gets the refusals.

        Returns:
            What was applied: the same, but with the live number of chatservers if the surplus could not be marked.
        """
        desired = await self._with_marked_victims(desired, observed, state, outcome)
        self._forget_refusal(desired, state)
        pending = self.pending(desired, observed, state, outcome)
        for manifest in state.rendered(desired).manifests if pending else ():
            key = (manifest["kind"], manifest["metadata"]["name"])
            live = observed.child(*key)
            # A template names the content that pods mount. With content that was refused, it would name what is not
            # there; a workload that is gone is made again even so. A Secret is made from what the other one holds.
            relies = live is not None or key[0] == "Secret"
            waits = relies and any(one in outcome.refused for one in needs(manifest) if one[0] != CLAIM)
            if key not in pending or waits:
                continue
            try:
                event = await self._apply(desired, manifest, live, pending[key], state)
                outcome.events += [event] if event is not None else []
            except KubeError as error:
                outcome.refuse(key, pending[key].digest, error)
                if error.status == CONFLICT:
                    await self._cache.look_again(key[0], desired.cluster.namespace, key[1])
        return desired

    async def _with_marked_victims(
        self, desired: Desired, observed: Observed, state: State, outcome: Outcome
    ) -> Desired:
        """Mark the chatservers to remove before the Deployment gets the lower number: Kubernetes removes at once.

        Without the marks the wrong servers would go, so that the number then stays; the template is applied all the
        same.
        """
        try:
            await mark_victims(self._kube, self._cache, desired, observed, state)
        except KubeError as error:
            outcome.failures.append(error)
            return replace(desired, replicas=live_number(desired, observed))
        return desired

    async def _apply(
        self, desired: Desired, manifest: Manifest, live: Manifest | None, one: ObjectDigest, state: State
    ) -> EventContent | None:
        """Apply one object and remember it.

        Returns:
            What deserves an Event.

        Raises:
            KubeError: The API server refused it.
        """
        cluster, key = desired.cluster, one.key
        uid = live["metadata"]["uid"] if live is not None else None
        # A Secret's content comes from the live one. If that is another by now, this would undo its change.
        since = live["metadata"]["resourceVersion"] if live is not None and one.kind == "Secret" else None
        try:
            applied = await self._kube.apply(manifest, uid=uid, resource_version=since)
        except KubeError as error:
            if one.kind != CLAIM or live is None or one.name == backup_claim_name(cluster.name):
                raise
            made = await keep_claim(self._kube, self._cache, manifest, live, error, self._monotonic())
            if isinstance(made, ClaimRefusal):
                state.claim_refusal = made
                return None
            await self._cache.look_again(CLAIM, cluster.namespace, one.name)
            return made
        self._cache.note(applied)
        if one.kind == CLAIM and one.name != backup_claim_name(cluster.name):
            state.claim_refusal = None
        version = applied["metadata"]["resourceVersion"]
        last, changed = state.applied.get(key), differing(manifest, live, applied)
        if last is not None and last.digest == one.digest and (live is None or changed):
            who = (live or {}).get("metadata", {}).get(WRITERS_FIELD, ())
            state.contests[key] = undone(state.contests.get(key), self._monotonic(), changed, who)
        state.overruled[key] = overruled(manifest, applied)
        state.applied[key] = Applied(one.digest, version, content(applied, one), self._monotonic())
        metrics.APPLIES.labels(kind=one.kind).inc()
        if live is None or live["metadata"]["resourceVersion"] != version:
            log.info("applied", namespace=cluster.namespace, name=cluster.name, kind=one.kind, child=one.name)
        return None

    @staticmethod
    def _forget_refusal(desired: Desired, state: State) -> None:
        """Another size or class, such as the one before, has not been refused."""
        claims = {one.digest for one in state.rendered(desired).digests if one.kind == CLAIM}
        if state.claim_refusal is not None and state.claim_refusal.digest not in claims:
            state.claim_refusal = None
