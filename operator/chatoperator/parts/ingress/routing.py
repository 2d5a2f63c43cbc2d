"""Checks of the Gateway API route in front of HAProxy, for the condition IngressReady. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chatoperator.metadata import front_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

Reason = Literal["GatewayApiMissing", "RouteNotAccepted", "FrontCertificateMissing", "FrontCertificateInvalid"]

WHICH = ("namespace", "name", "sectionName", "port")
"""What distinguishes one listener of a Gateway from another."""


@dataclass(frozen=True)
class RouteTrouble:
    """What keeps clients from coming in through the Ingress or the route.

    Attributes:
        reason: One word for programs.
        message: What is wrong and what to do.
    """

    reason: Reason
    message: str


def route_trouble(cluster: ChatCluster, route: Manifest | None, *, known: bool) -> RouteTrouble | None:
    """What is wrong with the route; None where all Gateways have accepted it, and where the spec has none.

    Args:
        cluster: The ChatCluster.
        route: The live HTTPRoute; None where there is none.
        known: Whether the cluster has the kind HTTPRoute.
    """
    front = cluster.ingress.front
    if front is None or front.kind != "HTTPRoute":
        return None
    if not known:
        return RouteTrouble(
            "GatewayApiMissing",
            "ingress.front.kind is HTTPRoute, but this cluster has no kind HTTPRoute of gateway.networking.k8s.io/v1. "
            "Install the Gateway API and a controller for it, or choose another front. Meanwhile only the "
            "ingress Service serves the chat",
        )
    name = front_name(cluster.name)
    if route is None:
        return RouteTrouble("RouteNotAccepted", f"HTTPRoute {name} does not exist yet")
    for parent in front.parent_refs:
        words = _refusal(parent, route)
        if words is not None:
            return RouteTrouble("RouteNotAccepted", f"HTTPRoute {name}: Gateway {parent['name']} {words}")
    return None


def _refusal(parent: Mapping[str, Any], route: Manifest) -> str | None:
    """Why a Gateway does not pass requests on; None where it does."""
    current = {condition["type"]: condition for condition in _current(parent, route)}
    for kind in ("Accepted", "ResolvedRefs"):
        if current.get(kind, {}).get("status") == "False":
            return f"rejects the route: {current[kind].get('message') or current[kind].get('reason')}"
    if current.get("Accepted", {}).get("status") == "True":
        return None
    return (
        "has not accepted the route. Check that the Gateway exists, that it allows routes from this namespace, "
        "and that its controller runs"
    )


def _current(parent: Mapping[str, Any], route: Manifest) -> Iterator[Mapping[str, Any]]:
    """What controllers say of a route and one of its Gateways, as far as they have seen its present spec."""
    metadata = route["metadata"]
    for status in (route.get("status") or {}).get("parents") or []:
        about = {"namespace": metadata["namespace"], **status["parentRef"]}
        desired = {"namespace": metadata["namespace"], **parent}
        if all(about.get(key) == desired.get(key) for key in WHICH):
            for condition in status.get("conditions") or []:
                if condition.get("observedGeneration", 0) >= metadata.get("generation", 0):
                    yield condition
