"""The number of chatservers: reads their connections, calls the autoscaler, and marks those to remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from chatoperator.autoscaling import autoscaler
from chatoperator.kube.objects import ready_replicas, rolling
from chatoperator.metadata import DELETION_COST_ANNOTATION, workload_key
from chatoperator.reconcile.state import Removal
from chatoperator.reporting.events import EventContent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.desired import Desired
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed, Pod, Reading
    from chatoperator.probes.prober import Prober
    from chatoperator.reconcile.state import State

VICTIM_COST = "-100"
"""pod-deletion-cost of the servers to remove; others have none, which counts as 0."""

log = structlog.get_logger(__name__)


async def decide(
    prober: Prober,
    desired: Desired,
    body: Manifest,
    observed: Observed,
    state: State,
    *,
    now: float,
) -> int:
    """Decide the number of chatservers; read them every 15 s and after each change of the spec.

    Args:
        prober: Reads the servers.
        desired: What this reconcile requires, with the present number of servers.
        body: The ChatCluster.
        observed: Its children.
        state: Gets the readings, and in mode Internal the decision.
        now: Seconds of a monotonic clock.
    """
    if _begin_tick(desired.cluster, state, now):
        servers = observed.component("chatserver")
        addresses = {
            server.name: server.address for server in servers if server.address and server.started and not server.lost
        }
        state.readings = await prober.readings(addresses)
        _decide(desired, observed, state, now)
    return present_number(desired.cluster, body, observed, state)


def present_number(cluster: ChatCluster, body: Manifest, observed: Observed, state: State) -> int:
    """The number of chatservers until another one is decided.

    In modes External and Disabled it is that of the spec. Otherwise it is what was decided last, so that a number
    changed by hand is undone; an operator that has just started takes that of the Deployment, or after its deletion
    that of status.
    """
    fixed = cluster.chatserver.scaling.replicas
    if fixed is not None:
        return fixed
    if state.decision is not None:
        return state.decision.replicas
    live = observed.workload(cluster.name, "chatserver")
    number = 0 if live is None else int(live["spec"].get("replicas", 1))
    # None during a restore in place: that is not what was decided.
    if number:
        return number
    return int((body.get("status") or {}).get("desiredReplicas") or cluster.chatserver.scaling.min_replicas)


def live_number(desired: Desired, observed: Observed) -> int:
    """The number that the Deployment has now; the desired one where there is no Deployment."""
    live = observed.workload(desired.cluster.name, "chatserver")
    return desired.replicas if live is None else int(live["spec"].get("replicas", 1))


def _begin_tick(cluster: ChatCluster, state: State, now: float) -> bool:
    """Whether the servers are to be read now."""
    due = autoscaler.is_due(state.ticked_at, now)
    if not due and state.ticked_generation == cluster.generation:
        return False
    if due:
        # A change of the spec puts off no tick: the next sweep would come too early for it, and the one after it late.
        state.ticked_at = now
    state.ticked_generation = cluster.generation
    return True


def _decide(desired: Desired, observed: Observed, state: State, now: float) -> None:
    cluster, current = desired.cluster, desired.replicas
    scaling = cluster.chatserver.scaling
    if scaling.mode != "Internal" or cluster.paused:
        state.decision, state.memory = None, None
        return
    state.decision = autoscaler.decide(
        [_server(server, state.readings) for server in observed.component("chatserver")],
        current,
        autoscaler.Policy(
            target=cluster.chatserver.target_connections_per_server,
            min_replicas=scaling.min_replicas,
            max_replicas=scaling.max_replicas,
            stabilization_seconds=scaling.scale_down_stabilization_seconds,
        ),
        state.memory or autoscaler.start(current, now),
        now=now,
        settled=_is_stable(cluster, observed, current) and not _about_to_roll(desired, state),
    )
    state.memory = state.decision.memory
    if state.decision.replicas != current:
        log.info(
            "scaled",
            namespace=cluster.namespace,
            name=cluster.name,
            was=current,
            now=state.decision.replicas,
            reason=state.decision.message,
        )


def _is_stable(cluster: ChatCluster, observed: Observed, current: int) -> bool:
    """Whether neither a rollout nor a drain is in progress."""
    live = observed.workload(cluster.name, "chatserver")
    return (
        live is not None
        and not rolling(live)
        and ready_replicas(live) >= current
        # A server on a lost node may never be gone: its clients are, and nothing waits for it.
        and not any(server.terminating and not server.lost for server in observed.component("chatserver"))
    )


def _about_to_roll(desired: Desired, state: State) -> bool:
    """Whether this very reconcile changes the servers' template, or may do so: a new operator does not know yet."""
    key = workload_key(desired.cluster.name, "chatserver")
    last = state.applied.get(key)
    return last is None or last.digest != state.rendered(desired).digest_of(key)


async def mark_victims(kube: Kube, cache: Cache, desired: Desired, observed: Observed, state: State) -> None:
    """Before servers are removed, mark those with the fewest connections, which Kubernetes then removes first.

    Raises:
        KubeError: The API server refused an annotation.
    """
    cluster = desired.cluster
    count = live_number(desired, observed) - desired.replicas
    servers = {server.name: server for server in observed.component("chatserver") if not server.terminating}
    if count <= 0:
        return
    connections = {name: _connections(state.readings.get(name)) for name in servers}
    chosen = autoscaler.victims(connections, count)
    for name, server in servers.items():
        cost = VICTIM_COST if name in chosen else None
        if server.deletion_cost != cost:
            cache.note(await kube.annotate("Pod", cluster.namespace, name, {DELETION_COST_ANNOTATION: cost}))
    state.removal = Removal(before=frozenset(servers), chosen=frozenset(chosen))
    log.info("removing chatservers", namespace=cluster.namespace, name=cluster.name, servers=list(chosen))


def wrongly_removed(observed: Observed, state: State) -> EventContent | None:
    """Once as many servers have gone as were marked: whether others went than those with the fewest connections."""
    removal = state.removal
    if removal is None:
        return None
    there = {server.name for server in observed.component("chatserver") if not server.terminating}
    gone = removal.before - there
    if len(gone) < len(removal.chosen):
        return None
    state.removal = None
    stayed = removal.chosen - gone
    if not stayed:
        return None
    return EventContent(
        warning=True,
        reason="WrongServerRemoved",
        message=f"{', '.join(sorted(gone - removal.chosen))} was removed although {', '.join(sorted(stayed))} "
        "had fewer connections, so more clients than necessary had to reconnect. Either a pod was not running, or "
        "another program changed the annotation controller.kubernetes.io/pod-deletion-cost",
    )


def _connections(reading: Reading | None) -> int | None:
    return reading.connections if reading else None


def _server(server: Pod, readings: Mapping[str, Reading | None]) -> autoscaler.Server:
    return autoscaler.Server(
        name=server.name,
        started=server.started,
        terminating=server.terminating,
        connections=_connections(readings.get(server.name)),
    )
