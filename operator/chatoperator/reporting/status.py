"""Conditions as status holds them, which of their changes become Events, and the URL of the chat. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.conditions import is_bad, level, migration
from chatoperator.conditions.declared import Level
from chatoperator.parts.ingress.address import HTTPS_PORT, https_port
from chatoperator.reporting.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from chatoperator.api.spec import ChatCluster
    from chatoperator.conditions.declared import Condition
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Pod

MESSAGE_LENGTH_MAX = 1024
"""Characters; an API server's refusal can be a page long."""


def merge(
    previous: Sequence[Mapping[str, Any]],
    made: Sequence[Condition],
    *,
    generation: int,
    now: str,
    ended: Collection[str] = (),
) -> list[Manifest]:
    """Conditions as status holds them; lastTransitionTime moves only where the status changes.

    Args:
        previous: What status holds now. Conditions that are not among the new ones stay unchanged.
        made: The new ones.
        generation: metadata.generation that they speak about.
        now: RFC 3339.
        ended: Types of which a condition that is not among the new ones is dropped.
    """
    before = {condition["type"]: condition for condition in previous}
    merged = []
    for condition in made:
        old = before.pop(condition.type, None)
        unchanged = old is not None and old["status"] == condition.status
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": printable(condition.message)[:MESSAGE_LENGTH_MAX],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and unchanged else now,
            }
        )
    return merged + [dict(condition) for condition in before.values() if condition["type"] not in ended]


def transitions(previous: Sequence[Mapping[str, Any]], merged: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The conditions that turned: those whose status or reason is new."""
    before = {condition["type"]: (condition["status"], condition["reason"]) for condition in previous}
    return [
        condition
        for condition in merged
        if before.get(condition["type"], (None, None)) != (condition["status"], condition["reason"])
    ]


def deserves_event(condition: Mapping[str, Any], previous: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a transition becomes an Event: the Events together summarise what happened.

    Unknown makes none. Nor does what a new ChatCluster does not have yet or is not, a step between two of the same
    status that needs no action (no pod ready, one of two ready), or a figure that varies within the bounds.
    """
    if condition["status"] == "Unknown":
        return False
    before = next((held for held in previous if held["type"] == condition["type"]), None)
    if before is not None and (before["reason"], condition["reason"]) == (
        migration.MIGRATION_FAILED.name,
        migration.MIGRATION_FAILING.name,
    ):
        # The next try of the same.
        return False
    new = level(condition["reason"])
    if new is Level.WARNING:
        return True
    if before is None:
        return new not in {Level.FIGURE, Level.STEP} and is_bad(condition)
    if new is Level.FIGURE:
        return level(before["reason"]) is Level.WARNING
    steps = {level(before["reason"]), new} == {Level.STEP}
    return condition["status"] != before["status"] or not steps


def url(cluster: ChatCluster, service: Manifest | None, pods: Sequence[Pod]) -> str | None:
    """Where clients reach the chat; None while that is not known.

    The host is the first of ingress.hostnames; without one it is what Kubernetes gave: a node's address for NodePort,
    the load balancer's for LoadBalancer, the Service's name inside the cluster for ClusterIP. Where something stands in
    front, its port is the one of HTTPS.
    """
    if service is None:
        return None
    kind = cluster.ingress.service.type
    host: str | None = cluster.ingress.hostnames[0] if cluster.ingress.hostnames else None
    port = https_port(service) if cluster.ingress.front is None else HTTPS_PORT
    if port is None:
        return None
    if host is None and kind == "NodePort":
        host = next((pod.host_address for pod in pods if pod.ready and pod.host_address), None)
    elif host is None and kind == "LoadBalancer":
        balancers = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
        host = next((balancer.get("hostname") or balancer.get("ip") for balancer in balancers), None)
    elif host is None:
        host = f"{service['metadata']['name']}.{cluster.namespace}.svc"
    if host is None:
        return None
    if ":" in host:
        host = f"[{host}]"
    return f"https://{host}/" if port == HTTPS_PORT else f"https://{host}:{port}/"
