"""Decides and applies in rounds until nothing is left to do: one round makes what the next one waits for."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from chatoperator import metrics
from chatoperator.desired import decide
from chatoperator.desired.restoration import begins
from chatoperator.errors import OutdatedError
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.metadata import KIND, database_secret_name
from chatoperator.reconcile import cleanup, rotations, scale, switchover
from chatoperator.reconcile.apply import Applier
from chatoperator.reconcile.observe import confirmed, credentials_of, names_of, source_of, taken, with_writes
from chatoperator.reconcile.reachability import report_of_backup, report_of_leader, reports_of_agents
from chatoperator.reconcile.touch import touch
from chatoperator.reconcile.usersecrets import named_secrets

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.desired import Desired
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.losses import HeldContent
    from chatoperator.reconcile.context import Context
    from chatoperator.reconcile.outcome import Outcome
    from chatoperator.reconcile.state import State

ROUNDS_MAX = 4
"""Of one reconcile. A bring-up needs three: the migrate Job is named after the claim's uid, and the last one finds
nothing to do."""

SECRET_BYTES = 32
"""256 random bits for each password and key."""


class Converger:
    """Brings the children of a ChatCluster to their desired state.

    Args:
        context: What all reconciles work with.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._applier = Applier(context.kube, context.cache, monotonic=context.monotonic)

    async def converge(
        self, cluster: ChatCluster, body: Manifest, observed: Observed, state: State, outcome: Outcome
    ) -> tuple[Observed, Desired]:
        """Decide and apply until there is nothing left to do now.

        Returns:
            What is observed after it, and what was decided last.

        Raises:
            SpecError: The spec cannot work on what there is.
            KubeError: The API server did not answer.
            OutdatedError: The spec has changed meanwhile.
        """
        held = state.held(cluster.uid)
        for number in range(ROUNDS_MAX):
            observed, desired = await self._decide(cluster, body, observed, state, held)
            state.waiting = desired.waiting and not cluster.paused
            if cluster.paused:
                return observed, desired
            pending = self._applier.pending(desired, observed, state, outcome)
            if pending and number == 0:
                await self._check_current(body)
            await self._write(desired, observed, state, outcome)
            outcome.restored(desired.losses.restored)
            outcome.copied(desired.losses.copied)
            if not pending:
                break
            before = observed
            # A change that has just been written is on its way: status must not call the spec applied before it is.
            observed = with_writes(self._context.cache, body, observed)
            if observed.children == before.children:
                break
        return observed, desired

    async def _decide(
        self, cluster: ChatCluster, body: Manifest, observed: Observed, state: State, held: HeldContent | None
    ) -> tuple[Observed, Desired]:
        """Decide on what there really is: an object that seems missing is looked up before anything takes its name.

        Returns:
            What is observed, and what is desired.

        Raises:
            SpecError: The spec cannot work on what there is.
            KubeError: The API server did not answer.
        """
        observed = await confirmed(self._context.cache, body, observed, credentials_of(cluster, observed))
        observed = replace(
            observed,
            user_secrets=await named_secrets(self._context.kube, cluster, begins=begins(body)),
            source=source_of(self._context.cache, cluster),
            agents=await reports_of_agents(self._context.prober, observed),
            backup=await report_of_backup(self._context.prober, observed),
            readings=state.readings,
            served=frozenset(kind for kind in (CERTIFICATE, ROUTE) if self._context.cache.serves(kind)),
        )
        observed = replace(observed, agent=report_of_leader(cluster.name, observed))
        while True:
            desired = decide(
                cluster,
                body,
                observed,
                settings=self._context.settings,
                now=self._context.now(),
                held=held,
                replicas=scale.present_number(cluster, body, observed, state),
                new_secret=lambda: secrets.token_urlsafe(SECRET_BYTES),
            )
            names = names_of(state.rendered(desired).digests, observed)
            seen = observed if cluster.paused else await confirmed(self._context.cache, body, observed, names)
            if seen.children.keys() == observed.children.keys():
                break
            # One that had lost its labels: it may change what there is to do.
            observed = seen
        _measure_rotation(desired, seen, state)
        desired = desired.withholding(taken(cluster, seen), seen)
        replicas = await scale.decide(self._context.prober, desired, body, seen, state, now=self._context.monotonic())
        return replace(seen, readings=state.readings), replace(desired, replicas=replicas)

    async def _write(self, desired: Desired, observed: Observed, state: State, outcome: Outcome) -> None:
        """Write what differs. A refused step does not keep the others from their work; the outcome gets the refusal."""
        applied = await self._applier.apply_all(desired, observed, state, outcome)
        await touch(self._context.kube, self._context.cache, applied, observed, outcome)
        with outcome.collecting():
            await switchover.request(self._context.kube, self._context.cache, applied, outcome)
        with outcome.collecting():
            await cleanup.delete_jobs(self._context.kube, applied, observed, self._context.now())
        with outcome.collecting():
            names = {one.key for one in state.rendered(applied).digests}
            await cleanup.delete_undesired(self._context.kube, applied, observed, names, outcome)

    async def _check_current(self, body: Manifest) -> None:
        """Look up the ChatCluster itself before anything is written in its name: the cache may lag behind.

        Children of a ChatCluster that was deleted and recreated would get an owner that is gone, and go with it.

        Raises:
            OutdatedError: It has changed or is gone.
            KubeError: The API server did not answer.
        """
        metadata = body["metadata"]
        live = await self._context.cache.look_again(KIND, metadata["namespace"], metadata["name"])
        seen = None if live is None else (live["metadata"]["uid"], live["metadata"]["generation"])
        if seen != (metadata["uid"], metadata["generation"]):
            raise OutdatedError(metadata["name"])


def _measure_rotation(desired: Desired, observed: Observed, state: State) -> None:
    secret = observed.child("Secret", database_secret_name(desired.cluster.name)) or {}
    held = (secret.get("metadata") or {}).get("annotations") or {}
    state.rotation_began, seconds = rotations.follow(state.rotation_began, held, desired.credentials.logins)
    if seconds is not None:
        metrics.ROTATION_SECONDS.labels(kind="credentials").observe(seconds)
