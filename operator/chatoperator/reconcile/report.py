"""Reports the result of a reconcile: one status patch if anything changed, Events for conditions, gauges."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import TYPE_CHECKING, Any

import structlog

from chatoperator import metrics
from chatoperator.conditions import conditions
from chatoperator.conditions.inputs import Ends, Facts
from chatoperator.errors import OutdatedError
from chatoperator.kube.contest import contested
from chatoperator.kube.kinds import ROUTE
from chatoperator.kube.ownership import owner_in_words
from chatoperator.metadata import front_name, part_name, selector, selector_text
from chatoperator.observed import ready_replicas
from chatoperator.parts.chatserver.webhook_key import webhook_fault
from chatoperator.parts.ingress.front_certificate import front_certificate_trouble
from chatoperator.parts.ingress.routing import route_trouble
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.losses import irreplaceables
from chatoperator.parts.remembered import STATUS_FIELD, record
from chatoperator.reconcile.keep import policy
from chatoperator.reconcile.reachability import reach, targets
from chatoperator.reconcile.rejections import fresh, podless, rejections
from chatoperator.reporting import refusals, status
from chatoperator.reporting.events import event, turned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chatoperator.desired import Desired
    from chatoperator.errors import KubeError
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.irreplaceable import Loss
    from chatoperator.probes.prober import Prober
    from chatoperator.reconcile.state import State
    from chatoperator.reporting.events import News
    from chatoperator.settings import Settings

CERTIFICATE_SOON_DAYS = 14
"""Whoever renews by hand needs a fortnight; issuers that renew by themselves do it earlier."""

log = structlog.get_logger(__name__)


class Reporter:
    """Writes the status of ChatClusters.

    Args:
        kube: The API server.
        cache: Gets the answers of the API server.
        prober: The running parts.
        settings: The operator's settings.
        monotonic: Seconds that never go back, for the number of Events.
        now: The time with its zone.
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
        self._cache = cache
        self._prober = prober
        self._settings = settings
        self._monotonic = monotonic
        self._now = now

    async def refuse(
        self, body: Manifest, observed: Observed, state: State, *, spec_error: str, lost: tuple[Loss, ...]
    ) -> None:
        """Report what is wrong with the spec, and the state of what runs.

        Raises:
            KubeError: The API server refused the status or an Event.
        """
        state.targets = targets(body, observed, own_for=self._own_for(state))
        facts = Facts(
            name=body["metadata"]["name"],
            uid=body["metadata"]["uid"],
            cluster=None,
            observed=observed,
            answer=await reach(self._prober, state.targets),
            spec_error=spec_error,
            losses=lost,
        )
        await self._write(body, state, facts, {"deletionPolicy": policy(body, observed)})

    async def report(
        self,
        body: Manifest,
        observed: Observed,
        desired: Desired,
        state: State,
        *,
        conflict: str | None,
        failures: Sequence[KubeError],
    ) -> None:
        """Report what runs, what changes, what the API server refused, and who has the hostname already.

        Raises:
            KubeError: The API server refused the status or an Event.
            OutdatedError: The spec has changed meanwhile.
        """
        cluster, database, now = desired.cluster, desired.database, self._now()
        webhook = cluster.auth.webhook
        secrets_of_user = observed.user_secrets
        self._remember(desired, state)
        state.targets = targets(body, observed, own_for=self._own_for(state))
        without_pods = podless(cluster.name, observed, desired.migration.job_name)
        answer = await reach(self._prober, state.targets)
        state.waiting |= not answer.ok and fresh(without_pods.values(), now)
        facts = Facts(
            name=cluster.name,
            uid=cluster.uid,
            cluster=cluster,
            observed=observed,
            answer=answer,
            conflict=conflict,
            contested=contested(state.contests, state.overruled, state.rival, self._monotonic()),
            certificate_ends=self._ends(desired),
            certificate_trouble=desired.serving.trouble,
            route_trouble=front_certificate_trouble(cluster, secrets_of_user, now)
            or route_trouble(cluster, observed.child(ROUTE, front_name(cluster.name)), known=ROUTE in desired.served),
            decision=state.decision,
            migrate_job_name=desired.migration.job_name,
            migrated=desired.migration.done,
            external_trouble=database.trouble,
            webhook_fault=webhook_fault(webhook.secret_name, secrets_of_user.get(webhook.secret_name))
            if webhook
            else None,
            failure=refusals.words(failures) if failures else None,
            taken=_taken(observed, desired),
            losses=desired.losses.reported,
            upgrade=desired.release.available,
            parameters_refused=database.parameters_refused,
            parameters_checked=database.parameters_checked,
            migration_failed=status.migration_failed(body),
            rejections=await rejections(self._kube, without_pods),
            claim_refusal=state.claim_refusal.message if state.claim_refusal else None,
            storage_class_kept=state.claim_refusal.storage_class if state.claim_refusal else None,
            rotating=desired.rotating,
        )
        service = observed.child("Service", part_name(cluster.name, "ingress"))
        figures = {
            "url": status.url(cluster, service, observed.component("ingress")),
            "volumeSize": database.volume.size,
            "certificate": _certificate(desired),
            "desiredReplicas": desired.replicas,
            "version": desired.release.version,
            "images": _images(desired),
            "deletionPolicy": policy(body, observed),
            STATUS_FIELD: record(body, observed, irreplaceables(cluster, observed)),
        }
        await self._write(body, state, facts, figures)

    def _remember(self, desired: Desired, state: State) -> None:
        """Remember the certificate that is served from now on, for the next pulse and the probes of the proxies."""
        served = desired.serving
        state.certificate_expires = served.ends
        state.unaccepted = served.trouble is not None and not served.trouble.accepted
        if served.self_signed is None:
            state.own_since = None
        elif state.own_since is None:
            state.own_since = self._monotonic()

    def _own_for(self, state: State) -> float | None:
        return None if state.own_since is None else self._monotonic() - state.own_since

    def _ends(self, desired: Desired) -> Ends | None:
        at, now = desired.serving.ends, self._now()
        if at is None:
            return None
        # A certificate by cert-manager may last for hours only.
        by_cert_manager = desired.cluster.ingress.issuer is not None
        soon = desired.serving.overdue if by_cert_manager else at <= now + dt.timedelta(days=CERTIFICATE_SOON_DAYS)
        return Ends(_rfc3339(at), over=at <= now, soon=soon)

    async def record_event(self, body: Manifest, state: State, news: News) -> None:
        """Create an Event, unless there were too many of late; the log has all of them.

        Raises:
            KubeError: The API server refused it.
        """
        allowance = state.events.spend(self._monotonic())
        if allowance is None:
            return
        state.events = allowance
        made = event(
            body, news, pod_name=self._settings.pod_name, now=_rfc3339(self._now()), suffix=secrets.token_hex(8)
        )
        await self._kube.create_event(made)

    async def _write(self, body: Manifest, state: State, facts: Facts, figures: Mapping[str, Any]) -> None:
        """One status patch if anything changed, and Events for the conditions that changed."""
        metadata, held = body["metadata"], body.get("status") or {}
        now = _rfc3339(self._now())
        made = status.merge(held.get("conditions") or [], conditions(facts), generation=metadata["generation"], now=now)
        live = facts.observed.workload(facts.name, "chatserver")
        desired: dict[str, Any] = {
            "observedGeneration": metadata["generation"],
            "conditions": made,
            "replicas": int(((live or {}).get("status") or {}).get("replicas") or 0),
            "readyReplicas": ready_replicas(live),
            "selector": selector_text(selector(facts.name, "chatserver")),
            "connections": sum(reading.connections for reading in state.readings.values() if reading),
            **figures,
        }
        state.ready = made[0]["status"] == "True"
        _show(metadata["namespace"], facts.name, desired)
        changed = {key: value for key, value in desired.items() if held.get(key) != value}
        if not changed:
            return
        patched = await self._kube.patch_status(metadata["namespace"], facts.name, changed, uid=metadata["uid"])
        self._cache.note(patched)
        for condition in status.transitions(held.get("conditions") or [], made):
            log.info(
                "condition",
                namespace=metadata["namespace"],
                name=facts.name,
                type=condition["type"],
                status=condition["status"],
                reason=condition["reason"],
                message=condition["message"],
            )
            if status.deserves_event(condition, held.get("conditions") or []):
                await self.record_event(body, state, turned(condition))
        if patched is not None and patched["metadata"]["generation"] != metadata["generation"]:
            # The cache holds the new spec already, so that no watch will wake anybody for it.
            raise OutdatedError(f"ChatCluster {facts.name} changed meanwhile")


def _show(namespace: str, name: str, status: Mapping[str, Any]) -> None:
    """The figures for Prometheus."""
    labels = {"namespace": namespace, "name": name}
    metrics.CONNECTIONS.labels(**labels).set(status["connections"])
    metrics.READY.labels(**labels).set(status["conditions"][0]["status"] == "True")
    if "desiredReplicas" in status:
        metrics.DESIRED_REPLICAS.labels(**labels).set(status["desiredReplicas"])


def _taken(observed: Observed, desired: Desired) -> tuple[str, ...]:
    """Objects of others with a name that the operator would make, each in words."""
    return tuple(
        f"{kind} {name} ({owner_in_words(raw)})"
        for (kind, name), raw in sorted(observed.others.items())
        if (kind, name) in desired.withheld
    )


def _certificate(desired: Desired) -> dict[str, str] | None:
    """The certificate that HAProxy should serve, so that somebody who replaced it can wait for it."""
    served = desired.serving.pair.certificate if desired.serving.pair is not None else ""
    sha256, ends = self_signed.fingerprint(served), self_signed.ends(served)
    return {"sha256": sha256, "notAfter": _rfc3339(ends)} if sha256 is not None and ends is not None else None


def _images(desired: Desired) -> dict[str, str]:
    """What runs: the chatserver's image counts once its migrations have run."""
    template, images = desired.migration.template, desired.release.images
    return {
        "chatserver": template.image if template else images.chatserver,
        "postgres": images.postgres,
        "haproxy": images.haproxy,
    }


def _rfc3339(now: dt.datetime) -> str:
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
