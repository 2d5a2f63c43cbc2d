"""The recipe: observe, parse, decide, desired, apply what differs, conditions, one status patch if changed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from chatoperator import hostnames, metrics
from chatoperator.errors import KubeError, SpecError
from chatoperator.manifests.metadata import KIND
from chatoperator.parse import parse
from chatoperator.reconcile import scale
from chatoperator.reconcile.act import Actor
from chatoperator.reconcile.ask import pulse
from chatoperator.reconcile.observe import named_secrets, observe
from chatoperator.reconcile.plan import make_plan
from chatoperator.reconcile.report import Reporter
from chatoperator.reconcile.state import State

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from chatoperator.hostnames import Claim
    from chatoperator.kube import Kube
    from chatoperator.probe import Prober
    from chatoperator.settings import Settings
    from chatoperator.workqueue import Key

log = structlog.get_logger(__name__)


class Reconciler:
    """Brings ChatClusters to what their specs ask.

    Args:
        kube: The API server.
        prober: The running parts.
        settings: The operator's settings.
        monotonic: Seconds that never go back, for intervals.
        now: The time with its zone, for what others have dated: certificates, deletions, status.
    """

    def __init__(
        self,
        kube: Kube,
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
        self._actor = Actor(kube, monotonic=monotonic, now=now)
        self._reporter = Reporter(kube, prober, settings, monotonic=monotonic, now=now)
        self._states: dict[Key, State] = {}
        self._claims: dict[Key, Claim] = {}

    async def keys(self) -> list[Key]:
        """All ChatClusters there are, for the sweep."""
        found = await self._kube.list(KIND, self._settings.watch_namespace)
        self._claims = {}
        for raw in found:
            # A wrong spec claims nothing; its reconcile tells what is wrong.
            with contextlib.suppress(SpecError):
                claim = hostnames.claim(parse(raw))
                self._claims[claim.namespace, claim.name] = claim
        return [(raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in found]

    @property
    def known(self) -> int:
        """ChatClusters that were reconciled and still exist."""
        return len(self._states)

    async def turned(self) -> list[Key]:
        """ChatClusters whose answer is another than their last reconcile found, for the pulse between sweeps."""
        return await pulse(self._prober, dict(self._states), self._now())

    async def reconcile(self, key: Key) -> None:
        """Bring one ChatCluster to what its spec asks, as far as it can be done now.

        Raises:
            KubeError: The API server refused something; status says what, and the reconcile is to be tried again.
        """
        namespace, name = key
        body = await self._kube.get(KIND, namespace, name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            # Its children follow by garbage collection.
            self._forget(key)
            return
        state = self._states.setdefault(key, State())
        observed = await observe(self._kube, namespace, name, self._now())
        try:
            cluster = parse(body)
            named = await named_secrets(self._kube, cluster)
            plan = make_plan(cluster, body, observed, named, self._settings, self._now())
        except SpecError as error:
            await self._reporter.refuse(body, observed, state, spec_error=str(error))
            return
        news = scale.wrongly_removed(observed, state)
        plan = plan.with_replicas(scale.replicas(cluster, body, observed, state))
        await scale.tick(self._prober, cluster, observed, plan, state, now=self._monotonic())
        plan = plan.with_replicas(scale.replicas(cluster, body, observed, state))
        failure: KubeError | None = None
        if not cluster.paused:
            failure = await self._actor.act(cluster, observed, plan, state)
        conflict = hostnames.conflict(hostnames.claim(cluster), self._claims.values())
        await self._reporter.report(body, cluster, observed, plan, state, conflict=conflict, failure=failure)
        if news is not None:
            log.warning("event", namespace=namespace, name=name, reason=news.reason, message=news.message)
            await self._reporter.tell(body, state, news)
        if failure is not None:
            raise failure

    def _forget(self, key: Key) -> None:
        if self._states.pop(key, None) is not None:
            metrics.forget(*key)
            log.info("forgotten", namespace=key[0], name=key[1])
