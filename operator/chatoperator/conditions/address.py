"""Whether clients outside the cluster have an address: shared by Ready, IngressReady and Progressing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import part_name

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import ConditionInputs

MEANING = (
    "`ingress.service.type` is LoadBalancer, but the Service has no address. Wait a minute; then install a load "
    "balancer controller, or choose another type"
)


def missing(inputs: ConditionInputs) -> str | None:
    """What to do about a Service without the address of a load balancer; None where clients have an address."""
    if inputs.cluster is None or inputs.cluster.ingress.front is not None:
        return None
    name = part_name(inputs.name, "ingress")
    service = inputs.observed.child("Service", name)
    if service is None or service["spec"].get("type") != "LoadBalancer":
        return None
    if (service.get("status") or {}).get("loadBalancer", {}).get("ingress"):
        return None
    return (
        f"Service {name} of type LoadBalancer has no external address yet, so clients outside the cluster cannot "
        f"connect. If it gets none within a minute, check the Events (kubectl describe service {name} "
        f"-n {inputs.namespace}); install a load balancer controller, or set ingress.service.type to NodePort or "
        "ClusterIP"
    )
