"""Reports the result of a reconcile: one status patch if anything changed, Events for conditions, gauges."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import structlog

from chatoperator.conditions import conditions, ended
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.errors import OutdatedError
from chatoperator.kube.contest import contested
from chatoperator.kube.objects import ready_replicas
from chatoperator.metadata import selector, selector_text
from chatoperator.parts.ingress.tls.expiry import rfc3339
from chatoperator.reconcile import series
from chatoperator.reconcile.figures import figures
from chatoperator.reconcile.keep import policy
from chatoperator.reconcile.reachability import reach, targets
from chatoperator.reconcile.rejections import fresh, podless, rejections
from chatoperator.reporting import refusals, status
from chatoperator.reporting.events import event, turned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chatoperator.desired import Desired
    from chatoperator.errors import KubeError
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Answer, Observed
    from chatoperator.parts.irreplaceable import Loss
    from chatoperator.reconcile.context import Context
    from chatoperator.reconcile.state import State
    from chatoperator.reporting.events import EventContent

log = structlog.get_logger(__name__)


class Reporter:
    """Writes the status of ChatClusters.

    Args:
        context: What all reconciles work with.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def refuse(
        self, body: Manifest, observed: Observed, state: State, *, spec_error: str, lost: tuple[Loss, ...]
    ) -> None:
        """Report what is wrong with the spec, and the state of what runs.

        Raises:
            KubeError: The API server refused the status or an Event.
        """
        state.targets = targets(body, observed, own_for=self._own_for(state))
        inputs = ConditionInputs(
            body=body,
            observed=observed,
            answer=await self._reach(state),
            now=self._context.now(),
            spec_error=spec_error,
            lost=lost,
        )
        await self._write(state, inputs, {"deletionPolicy": policy(body, observed)})

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
        now = self._context.now()
        self._remember(desired, state)
        state.targets = targets(body, observed, own_for=self._own_for(state))
        without_pods = podless(desired.cluster.name, observed, desired.migration.job_name)
        answer = await self._reach(state)
        state.waiting |= not answer.ok and fresh(without_pods.values(), now)
        inputs = ConditionInputs(
            body=body,
            observed=observed,
            answer=answer,
            now=now,
            desired=desired,
            decision=state.decision,
            failure=refusals.words(failures) if failures else None,
            contested=contested(state.contests, state.overruled, state.rival, self._context.monotonic()),
            conflict=conflict,
            claim_refusal=state.claim_refusal,
            rejections=await rejections(self._context.kube, without_pods),
        )
        await self._write(state, inputs, figures(body, observed, desired))

    async def _reach(self, state: State) -> Answer:
        answer = await reach(self._context.prober, state.targets)
        if answer.seconds is not None:
            state.series.answered(answer.seconds, ok=answer.ok)
        return answer

    def _remember(self, desired: Desired, state: State) -> None:
        """Remember the certificate that is served from now on, for the next pulse and the probes of the proxies."""
        served = desired.serving
        state.certificate_expires = served.expires
        state.unaccepted = served.trouble is not None and not served.trouble.accepted
        if served.self_signed is None:
            state.own_since = None
        elif state.own_since is None:
            state.own_since = self._context.monotonic()

    def _own_for(self, state: State) -> float | None:
        return None if state.own_since is None else self._context.monotonic() - state.own_since

    async def record_event(self, body: Manifest, state: State, content: EventContent) -> None:
        """Create an Event, unless there were too many of late; the log has all of them.

        Raises:
            KubeError: The API server refused it.
        """
        allowance = state.events.spend(self._context.monotonic())
        if allowance is None:
            return
        state.events = allowance
        made = event(
            body,
            content,
            pod_name=self._context.settings.pod_name,
            now=rfc3339(self._context.now()),
            suffix=secrets.token_hex(8),
        )
        await self._context.kube.create_event(made)

    async def _write(self, state: State, inputs: ConditionInputs, figures: Mapping[str, Any]) -> None:
        """One status patch if anything changed, and Events for the conditions that changed."""
        body, name = inputs.body, inputs.name
        metadata, held = body["metadata"], body.get("status") or {}
        now = rfc3339(self._context.now())
        made = status.merge(
            held.get("conditions") or [],
            conditions(inputs),
            generation=metadata["generation"],
            now=now,
            ended=ended(inputs),
        )
        live = inputs.observed.workload(name, "chatserver")
        desired: dict[str, Any] = {
            "observedGeneration": metadata["generation"],
            "conditions": made,
            "replicas": int(((live or {}).get("status") or {}).get("replicas") or 0),
            "readyReplicas": ready_replicas(live),
            "selector": selector_text(selector(name, "chatserver")),
            "connections": sum(reading.connections for reading in state.readings.values() if reading),
            **figures,
        }
        state.ready = made[0]["status"] == "True"
        state.series.figures = series.figures(inputs, {**held, **desired})
        changed = {key: value for key, value in desired.items() if held.get(key) != value}
        if not changed:
            return
        patched = await self._context.kube.patch_status(metadata["namespace"], name, changed, uid=metadata["uid"])
        self._context.cache.note(patched)
        for condition in status.transitions(held.get("conditions") or [], made):
            log.info(
                "condition",
                namespace=metadata["namespace"],
                name=name,
                type=condition["type"],
                status=condition["status"],
                reason=condition["reason"],
                message=condition["message"],
            )
            if status.deserves_event(condition, held.get("conditions") or []):
                await self.record_event(body, state, turned(condition))
        if patched is not None and patched["metadata"]["generation"] != metadata["generation"]:
            # The cache holds the new spec already, so that no watch will wake anybody for it.
            raise OutdatedError(name)
