"""What stands in front of HAProxy where the spec requires it: an Ingress or an HTTPRoute, and a Service for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import front_name, metadata, selector

if TYPE_CHECKING:
    from chatoperator.api.ingress import Front
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

SERVICE_PORT = 80


def objects(cluster: ChatCluster, *, routes_known: bool) -> list[Manifest]:
    """The Service and what leads to it; nothing where clients come to HAProxy's own Service.

    Args:
        cluster: The ChatCluster.
        routes_known: Whether the cluster has the Gateway API's kind HTTPRoute.
    """
    front = cluster.ingress.front
    if front is None:
        return []
    made = [_service(cluster)]
    if front.kind == "Ingress":
        made.append(_ingress(cluster, front))
    elif routes_known:
        made.append(_route(cluster, front))
    return made


def _service(cluster: ChatCluster) -> Manifest:
    """Of its own: the one for clients may be open to the world, where plain HTTP has no place."""
    port = {"name": "http", "port": SERVICE_PORT, "targetPort": "front", "protocol": "TCP"}
    # For gateways that pass WebSockets on only where the Service says so.
    port["appProtocol"] = "kubernetes.io/ws"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, front_name(cluster.name), "ingress"),
        "spec": {"type": "ClusterIP", "selector": selector(cluster.name, "ingress"), "ports": [port]},
    }


def _metadata(cluster: ChatCluster, front: Front) -> Manifest:
    made = metadata(cluster, front_name(cluster.name), "ingress")
    return {**made, "annotations": dict(front.annotations)} if front.annotations else made


def _ingress(cluster: ChatCluster, front: Front) -> Manifest:
    hostnames = list(cluster.ingress.hostnames)
    service = {"name": front_name(cluster.name), "port": {"number": SERVICE_PORT}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    spec: Manifest = {"rules": [{"host": hostname, "http": {"paths": [path]}} for hostname in hostnames]}
    if front.class_name is not None:
        spec["ingressClassName"] = front.class_name
    if front.tls_secret_name is not None:
        spec["tls"] = [{"hosts": hostnames, "secretName": front.tls_secret_name}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _metadata(cluster, front),
        "spec": spec,
    }


def _route(cluster: ChatCluster, front: Front) -> Manifest:
    backend = {"group": "", "kind": "Service", "name": front_name(cluster.name), "port": SERVICE_PORT}
    rule = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [backend]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _metadata(cluster, front),
        "spec": {
            "parentRefs": [dict(parent) for parent in front.parent_refs],
            "hostnames": list(cluster.ingress.hostnames),
            "rules": [rule],
        },
    }
