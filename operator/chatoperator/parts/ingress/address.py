"""The port at which clients reach the ingress. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import part_name

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed

HTTPS_PORT = 443


def desired_port(cluster: ChatCluster, observed: Observed) -> int | None:
    """Port that clients use for HTTPS; None while Kubernetes has not given out a node port."""
    service = cluster.ingress.service
    if service.type != "NodePort":
        return HTTPS_PORT
    return service.node_port or https_port(observed.child("Service", part_name(cluster.name, "ingress")))


def https_port(service: Manifest | None) -> int | None:
    """Port of a live Service that clients use for HTTPS: 443, or the node port; None while there is none."""
    if service is None:
        return None
    spec = service["spec"]
    if spec.get("type") != "NodePort":
        return HTTPS_PORT
    return next((port.get("nodePort") for port in spec.get("ports", []) if port.get("name") == "https"), None)
