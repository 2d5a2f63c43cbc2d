"""One reconcile: observe, parse, decide, apply the differences, report conditions in one status patch."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import SpecError
from chatoperator.kube.client import CONFLICT
from chatoperator.metrics import chats
from chatoperator.parts.remembered import losses, recorded
from chatoperator.reconcile import drains, scale
from chatoperator.reconcile.converge import Converger
from chatoperator.reconcile.keep import keep_owners
from chatoperator.reconcile.observe import confirmed, observe
from chatoperator.reconcile.reachability import pulse
from chatoperator.reconcile.reading import check_readable, is_readable, read
from chatoperator.reconcile.report import Reporter
from chatoperator.reconcile.rivals import stand
from chatoperator.reconcile.state import State
from chatoperator.reporting import hostnames
from chatoperator.reporting.hostnames import Claims

if TYPE_CHECKING:
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.lanes import Key
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.reconcile.context import Context
    from chatoperator.reconcile.outcome import Outcome

CONFLICTS_REPORTED = 3
"""Conflicts in a row until status reports them: then something else writes all the time, or blocks a deletion."""

UNREADABLE_SECONDS = 600
"""Between two reports of a ChatCluster that is too large to be read: one write of its status may keep an API server
busy for half a minute."""

UNREADABLE_RETRY_SECONDS = 60
"""The same after a report that the API server did not take."""

REMEMBERED_BYTES_MAX = 64 * 1024
"""Of a ChatCluster whose spec is remembered as objects of Python, which takes ten times as much. A larger one is
rendered again at each reconcile; sensible ones have a tenth."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Brings ChatClusters to their desired state.

    Args:
        context: What all reconciles work with.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._converger = Converger(context)
        self._reporter = Reporter(context)
        self._states: dict[Key, State] = {}
        self._claims = Claims()
        # One at a time: together, none of them would be written before its request's time is up.
        self._unreadable = asyncio.Semaphore(1)

    @property
    def cache(self) -> Cache:
        """What reconciles observe."""
        return self._context.cache

    def chatclusters(self) -> list[Key]:
        """All ChatClusters there are, for the sweep."""
        keys = self._context.cache.chatclusters()
        for key in self._states.keys() - set(keys):
            self._forget(key)
        self._claims.keep(keys)
        for key in keys:
            if key not in self._claims:
                self._claim(self._context.cache.chatcluster(key))
        return keys

    @property
    def known(self) -> int:
        """ChatClusters that were reconciled and still exist."""
        return len(self._states)

    async def turned(self, *, ready: bool | None = None) -> list[Key]:
        """ChatClusters whose reachability has changed since their last reconcile, for the pulse between sweeps.

        Args:
            ready: Only those that were ready, or only those that were not; None for all.
        """
        states = {key: state for key, state in self._states.items() if ready in (None, bool(state.ready))}
        return await pulse(self._context.prober, states, self._context.now())

    async def read_drains(self) -> None:
        """Read the chatservers that drain, for the metrics: nobody else can before they are gone."""
        await drains.read(self._context.prober, list(self._states.values()))

    def withdraw(self) -> None:
        """Export nothing of any ChatCluster any more: this operator stops."""
        for key, state in self._states.items():
            chats.withdraw(key, state.series)

    async def reconcile(self, key: Key) -> None:
        """Bring one ChatCluster to its desired state, as far as it can be done now.

        Raises:
            KubeError: The API server refused something; status reports what, and the reconcile is to be retried.
        """
        try:
            await self._reconcile(key)
        finally:
            if key in self._states:
                self._states[key].free(everything=self._context.cache.size(key) > REMEMBERED_BYTES_MAX)

    async def _reconcile(self, key: Key) -> None:
        namespace, name = key
        await self._context.cache.filled(namespace)
        body = self._context.cache.chatcluster(key)
        if body is None:
            self._forget(key)
            return
        observed = observe(self._context.cache, body, self._context.now())
        # First, and whatever comes of the rest: what a deletion takes along must not depend on it.
        observed = await confirmed(self._context.cache, body, observed, recorded(body))
        observed, outcome = await keep_owners(self._context.kube, self._context.cache, body, observed)
        if "deletionTimestamp" in body["metadata"]:
            # Its children follow by garbage collection.
            self._forget(key)
            return
        state = self._states.setdefault(key, State())
        if is_readable(body):
            led = await self._lead(body, state)
            if led is None:
                chats.withdraw(key, state.series)
                return
            body = led
        elif self._context.monotonic() < state.unreadable_until:
            return
        else:
            # Also where the API server does not take the report in time.
            state.unreadable_until = self._context.monotonic() + UNREADABLE_RETRY_SECONDS
        self._follow(key, observed, state)
        try:
            cluster = read(body)
            check_readable(observed.children.values())
            event = scale.wrongly_removed(observed, state)
            observed, desired = await self._converger.converge(cluster, body, observed, state, outcome)
        except SpecError as error:
            self._claims.remove(key)
            await self._refuse(body, observed, state, error)
            outcome.raise_first()
            return
        self._report_only_lasting_conflicts(state, outcome)
        claim = hostnames.claim(cluster)
        self._claims.put(claim)
        conflict = self._claims.conflict(claim)
        await self._reporter.report(body, observed, desired, state, conflict=conflict, failures=outcome.failures)
        for one in (*outcome.events, *([event] if event is not None else [])):
            log.warning("event", namespace=namespace, name=name, reason=one.reason, message=one.message)
            await self._reporter.record_event(body, state, one)
        outcome.raise_first()

    def _follow(self, key: Key, observed: Observed, state: State) -> None:
        """Export what this reconcile finds, unless the ChatCluster was forgotten meanwhile."""
        if self._states.get(key) is state:
            chats.publish(key, state.series)
        state.drains, ended = drains.follow(state.drains, observed.component("chatserver"), self._context.monotonic())
        for seconds in ended:
            metrics.DRAIN_SECONDS.observe(seconds)

    async def _refuse(self, body: Manifest, observed: Observed, state: State, error: SpecError) -> None:
        """Report what is wrong with the spec; on a ChatCluster that cannot be read, one at a time.

        Raises:
            KubeError: The API server refused the status or an Event.
        """
        children = {place: raw for place, raw in observed.children.items() if is_readable(raw)}
        lost, readable = losses(body, observed), is_readable(body)
        async with contextlib.nullcontext() if readable else self._unreadable:
            await self._reporter.refuse(
                body, replace(observed, children=children), state, spec_error=str(error), lost=lost
            )
        if not readable:
            state.unreadable_until = self._context.monotonic() + UNREADABLE_SECONDS

    async def _lead(self, body: Manifest, state: State) -> Manifest | None:
        """Make sure that no other operator serves the ChatCluster.

        Returns:
            The ChatCluster as it is now; None where another one does.

        Raises:
            KubeError: The API server did not take the claim.
        """
        metadata, settings = body["metadata"], self._context.settings
        made = stand(
            body.get("status") or {},
            f"{settings.namespace}/{settings.lease_name}",
            settings.version,
            state.standing,
            self._context.monotonic(),
            lambda: secrets.token_hex(8),
        )
        if made.patch:
            patched = await self._context.kube.patch_status(
                metadata["namespace"], metadata["name"], dict(made.patch), uid=metadata["uid"]
            )
            self._context.cache.note(patched)
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

    @staticmethod
    def _report_only_lasting_conflicts(state: State, outcome: Outcome) -> None:
        """A conflict means that something changed meanwhile: a retry resolves it, and it need not be reported.

        Raises:
            KubeError: The conflict, to be retried.
        """
        conflicts = [error for error in outcome.failures if error.status == CONFLICT]
        state.conflicts = state.conflicts + 1 if conflicts else 0
        if conflicts and len(conflicts) == len(outcome.failures) and state.conflicts < CONFLICTS_REPORTED:
            raise conflicts[0]

    def _claim(self, body: Manifest | None) -> None:
        # An invalid spec claims nothing; its reconcile reports what is wrong.
        with contextlib.suppress(SpecError):
            if body is not None:
                self._claims.put(hostnames.claim(read(body)))

    def _forget(self, key: Key) -> None:
        self._claims.remove(key)
        state = self._states.pop(key, None)
        if state is not None:
            chats.withdraw(key, state.series)
            log.info("forgotten", namespace=key[0], name=key[1])
