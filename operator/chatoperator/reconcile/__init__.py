"""The recipe: observe, parse, decide, desired, apply what differs, conditions, one status patch if changed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import OutdatedError, SpecError
from chatoperator.kube.client import CONFLICT
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.metadata import KIND
from chatoperator.parts.remembered import losses, recorded
from chatoperator.reconcile import scale
from chatoperator.reconcile.keep import keep_owners
from chatoperator.reconcile.observe import (
    confirmed,
    credentials_of,
    names_of,
    observe,
    taken,
    with_writes,
)
from chatoperator.reconcile.plan import Told, make_plan
from chatoperator.reconcile.reachability import pulse, report_of_agent
from chatoperator.reconcile.reading import check_readable, is_readable, read
from chatoperator.reconcile.report import Reporter
from chatoperator.reconcile.rivals import stand
from chatoperator.reconcile.state import State
from chatoperator.reconcile.usersecrets import named_secrets
from chatoperator.reconcile.write import Actor
from chatoperator.reporting import hostnames
from chatoperator.reporting.hostnames import Claims

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.kube.lanes import Key
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.manifests import Inputs
    from chatoperator.probes.prober import Prober
    from chatoperator.reconcile.outcome import Outcome
    from chatoperator.reconcile.plan import Plan
    from chatoperator.settings import Settings

CONFLICTS_TOLD = 3
"""Conflicts in a row until status says so: then something else writes all the time, or keeps an object from going."""

UNREADABLE_SECONDS = 600
"""Between two reports of a ChatCluster that is too large to be read: one write of its status may keep an API server
busy for half a minute."""

UNREADABLE_RETRY_SECONDS = 60
"""The same after a report that the API server did not take."""

REMEMBERED_BYTES_MAX = 64 * 1024
"""Of a ChatCluster whose spec is remembered as objects of Python, which takes ten times as much. A larger one is
rendered anew at each reconcile; sensible ones have a tenth."""

ROUNDS_MAX = 4
"""Of planning and acting in one reconcile. A bring-up needs three: the migrate Job is named after the claim's uid, and
the last one finds nothing to do."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Brings ChatClusters to what their specs ask.

    Args:
        kube: The API server.
        cache: What it has told.
        prober: The running parts.
        settings: The operator's settings.
        monotonic: Seconds that never go back, for intervals.
        now: The time with its zone, for what others have dated: certificates, deletions, status.
    """

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        prober: Prober,
        settings: Settings,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], dt.datetime],
    ) -> None:
        self._kube = kube
        self._prober = prober
        self._settings = settings
        self._monotonic = monotonic
        self._now = now
        self._cache = cache
        self._actor = Actor(kube, cache, monotonic=monotonic, now=now)
        self._reporter = Reporter(kube, cache, prober, settings, monotonic=monotonic, now=now)
        self._states: dict[Key, State] = {}
        self._claims = Claims()
        # One at a time: together, none of them would be written before its request's time is up.
        self._unreadable = asyncio.Semaphore(1)

    @property
    def cache(self) -> Cache:
        """What reconciles look at."""
        return self._cache

    def chatclusters(self) -> list[Key]:
        """All ChatClusters there are, for the sweep."""
        keys = self._cache.chatclusters()
        for key in self._states.keys() - set(keys):
            self._forget(key)
        self._claims.keep(keys)
        for key in keys:
            if key not in self._claims:
                self._claim(self._cache.chatcluster(key))
        return keys

    @property
    def known(self) -> int:
        """ChatClusters that were reconciled and still exist."""
        return len(self._states)

    async def turned(self, *, ready: bool | None = None) -> list[Key]:
        """ChatClusters whose answer is another than their last reconcile found, for the pulse between sweeps.

        Args:
            ready: Only those that were ready, or only those that were not; None for all.
        """
        states = {key: state for key, state in self._states.items() if ready in (None, bool(state.ready))}
        return await pulse(self._prober, states, self._now())

    async def reconcile(self, key: Key) -> None:
        """Bring one ChatCluster to what its spec asks, as far as it can be done now.

        Raises:
            KubeError: The API server refused something; status says what, and the reconcile is to be tried again.
        """
        try:
            await self._reconcile(key)
        finally:
            if self._cache.size(key) > REMEMBERED_BYTES_MAX and key in self._states:
                self._states[key].wishes = None

    async def _reconcile(self, key: Key) -> None:
        namespace, name = key
        await self._cache.filled(namespace)
        body = self._cache.chatcluster(key)
        if body is None:
            self._forget(key)
            return
        observed = observe(self._cache, body, self._now())
        # First, and whatever comes of the rest: what a deletion takes along must not depend on it.
        observed = await confirmed(self._cache, body, observed, recorded(body))
        observed, outcome = await keep_owners(self._kube, self._cache, body, observed)
        if "deletionTimestamp" in body["metadata"]:
            # Its children follow by garbage collection.
            self._forget(key)
            return
        state = self._states.setdefault(key, State())
        if is_readable(body):
            led = await self._lead(body, state)
            if led is None:
                return
            body = led
        elif self._monotonic() < state.unreadable_until:
            return
        else:
            # Also where the API server does not take the report in time.
            state.unreadable_until = self._monotonic() + UNREADABLE_RETRY_SECONDS
        try:
            cluster = read(body)
            check_readable(observed.children.values())
            news = scale.wrongly_removed(observed, state)
            observed, plan = await self._converge(cluster, body, observed, state, outcome)
        except SpecError as error:
            self._claims.remove(key)
            readable = {place: raw for place, raw in observed.children.items() if is_readable(raw)}
            lost, observed = losses(body, observed), replace(observed, children=readable)
            if is_readable(body):
                await self._reporter.refuse(body, observed, state, spec_error=str(error), lost=lost)
            else:
                async with self._unreadable:
                    await self._reporter.refuse(body, observed, state, spec_error=str(error), lost=lost)
                state.unreadable_until = self._monotonic() + UNREADABLE_SECONDS
            outcome.raise_first()
            return
        self._tell_only_lasting_conflicts(state, outcome)
        claim = hostnames.claim(cluster)
        self._claims.put(claim)
        conflict = self._claims.conflict(claim)
        await self._reporter.report(body, cluster, observed, plan, state, conflict=conflict, failures=outcome.failures)
        for one in (*outcome.news, *([news] if news is not None else [])):
            log.warning("event", namespace=namespace, name=name, reason=one.reason, message=one.message)
            await self._reporter.tell(body, state, one)
        outcome.raise_first()

    async def _lead(self, body: Manifest, state: State) -> Manifest | None:
        """Make sure that no other operator serves the ChatCluster.

        Returns:
            The ChatCluster as it is now; None where another one does.

        Raises:
            KubeError: The API server did not take the claim.
        """
        metadata, settings = body["metadata"], self._settings
        made = stand(
            body.get("status") or {},
            f"{settings.namespace}/{settings.lease_name}",
            settings.version,
            state.standing,
            self._monotonic(),
            lambda: secrets.token_hex(8),
        )
        if made.patch:
            patched = await self._kube.patch_status(
                metadata["namespace"], metadata["name"], dict(made.patch), uid=metadata["uid"]
            )
            self._cache.note(patched)
            body = {**body, "status": (patched or {}).get("status") or {}}
        if made.rival != state.rival and made.rival is not None:
            log.warning(
                "another operator serves this ChatCluster",
                namespace=metadata["namespace"],
                name=metadata["name"],
                other=made.rival,
                stands_by=not made.leads,
            )
        state.standing, state.rival = made.standing, made.rival
        return body if made.leads else None

    async def _converge(
        self, cluster: ChatCluster, body: Manifest, observed: Observed, state: State, outcome: Outcome
    ) -> tuple[Observed, Plan]:
        """Plan and act until there is nothing left to do now: what one round makes may be what the next waits for.

        Returns:
            What there is after it, and the last plan.

        Raises:
            SpecError: The spec cannot work on what there is.
            KubeError: The API server did not answer.
            OutdatedError: The spec has changed meanwhile.
        """
        held = state.held(cluster)
        for number in range(ROUNDS_MAX):
            observed, plan = await self._planned(cluster, body, observed, state, held)
            await scale.tick(self._prober, cluster, observed, plan, state, now=self._monotonic())
            plan = plan.with_replicas(scale.replicas(cluster, body, observed, state))
            state.waiting = plan.waiting and not cluster.paused
            if cluster.paused:
                return observed, plan
            pending = self._actor.pending(cluster, observed, plan, state, outcome)
            if pending and number == 0:
                await self._still_wished(body)
            await self._actor.act(cluster, observed, plan, state, outcome)
            outcome.restored(plan.losses.restored)
            if not pending:
                break
            before = observed
            # A change that has just been written is on its way: status must not call the spec followed before it is.
            observed = with_writes(self._cache, body, observed)
            if observed.children == before.children:
                break
        return observed, plan

    async def _planned(
        self, cluster: ChatCluster, body: Manifest, observed: Observed, state: State, held: Inputs | None
    ) -> tuple[Observed, Plan]:
        """A plan on what there really is: what seems to be missing is looked for before anything takes its name.

        Returns:
            What there is, and the plan.

        Raises:
            SpecError: The spec cannot work on what there is.
            KubeError: The API server did not answer.
        """
        observed = await confirmed(self._cache, body, observed, credentials_of(cluster, observed))
        named = await named_secrets(self._kube, cluster)
        told = Told(
            await report_of_agent(self._prober, observed),
            state.readings,
            certificates_known=self._cache.serves(CERTIFICATE),
            routes_known=self._cache.serves(ROUTE),
            held=held,
        )
        while True:
            plan = make_plan(cluster, body, observed, named, self._settings, self._now(), told)
            plan = plan.with_replicas(scale.replicas(cluster, body, observed, state))
            names = names_of(state.wished(cluster, plan.inputs), observed)
            seen = observed if cluster.paused else await confirmed(self._cache, body, observed, names)
            if seen.children.keys() == observed.children.keys():
                return seen, plan.withholding(taken(cluster, seen), cluster, seen)
            # One that had lost its labels: it may change what there is to do.
            observed = seen

    async def _still_wished(self, body: Manifest) -> None:
        """Look at the ChatCluster itself before anything is written in its name: the cache may lag behind.

        Children of a ChatCluster that was deleted and made anew would get an owner that is gone, and go with it.

        Raises:
            OutdatedError: It has changed or is gone.
            KubeError: The API server did not answer.
        """
        metadata = body["metadata"]
        live = await self._cache.look_again(KIND, metadata["namespace"], metadata["name"])
        seen = None if live is None else (live["metadata"]["uid"], live["metadata"]["generation"])
        if seen != (metadata["uid"], metadata["generation"]):
            raise OutdatedError(f"ChatCluster {metadata['name']} changed meanwhile")

    @staticmethod
    def _tell_only_lasting_conflicts(state: State, outcome: Outcome) -> None:
        """A conflict means that something changed meanwhile: looking again cures it, and nobody need hear of it.

        Raises:
            KubeError: The conflict, to be tried again.
        """
        conflicts = [error for error in outcome.failures if error.status == CONFLICT]
        state.conflicts = state.conflicts + 1 if conflicts else 0
        if conflicts and len(conflicts) == len(outcome.failures) and state.conflicts < CONFLICTS_TOLD:
            raise conflicts[0]

    def _claim(self, body: Manifest | None) -> None:
        # A wrong spec claims nothing; its reconcile tells what is wrong.
        with contextlib.suppress(SpecError):
            if body is not None:
                self._claims.put(hostnames.claim(read(body)))

    def _forget(self, key: Key) -> None:
        self._claims.remove(key)
        if self._states.pop(key, None) is not None:
            metrics.forget(*key)
            log.info("forgotten", namespace=key[0], name=key[1])
