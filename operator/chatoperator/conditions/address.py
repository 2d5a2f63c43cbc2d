"""Whether clients outside the cluster have an address to come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import part_name

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


def missing(facts: Facts) -> str | None:
    """What to do about a Service that was given no load balancer; None where clients have an address."""
    if facts.cluster is None or facts.cluster.ingress.front is not None:
        return None
    name = part_name(facts.name, "ingress")
    service = facts.observed.child("Service", name)
    if service is None or service["spec"].get("type") != "LoadBalancer":
        return None
    if (service.get("status") or {}).get("loadBalancer", {}).get("ingress"):
        return None
    return (
        f"Service {name} of type LoadBalancer has no address yet. If none comes, no controller of this cluster gives "
        f"one: see kubectl describe service {name}; install one, or set ingress.service.type to NodePort or ClusterIP"
    )
