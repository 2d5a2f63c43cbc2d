"""HAProxy's Kubernetes side: Services, ConfigMap, Deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api.quantity import number
from chatoperator.metadata import (
    CONFIG_HASH_ANNOTATION,
    digest,
    metadata,
    part_name,
    proxies_service_name,
    selector,
    service_host,
    tls_secret_name,
)
from chatoperator.parts.chatserver.deployment import HTTP_PORT
from chatoperator.parts.ingress import haproxy
from chatoperator.parts.ingress.clients import ClientLimits
from chatoperator.parts.ingress.restarts import without_restart
from chatoperator.parts.placement import placement, pod_metadata, tolerations
from chatoperator.parts.pod import (
    SERVICE_USER_ID,
    container_security,
    http_probe,
    pod_spec,
    resources,
    scratch,
    secret_volume,
    usable,
)

if TYPE_CHECKING:
    from chatoperator.api.ingress import Ingress
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

DEFAULT_REQUESTS = {"cpu": "50m", "memory": "64Mi"}
DEFAULT_LIMITS = {"cpu": "2", "memory": "1Gi"}

CONNECTION_BYTES = 72 * 1024
"""A connection with TLS and all its buffers in use; an idle WebSocket takes about 60 KB."""

OWN_BYTES = 32 * 1024 * 1024
"""What HAProxy takes without connections."""

LEAST_CONNECTIONS = 100
"""However little memory there is: kubelet kills what takes more."""

FIND_SERVERS_SECONDS = 5
"""A new pod gets no requests before it has looked servers up and checked them. Not a probe of its servers: in an outage
of them all it has to answer 503 rather than to refuse connections."""

TERMINATION_GRACE_SECONDS = haproxy.LEAVE_ENDPOINTS_SECONDS + haproxy.HARD_STOP_AFTER_SECONDS + 10


def service(cluster: ChatCluster) -> Manifest:
    """Where clients arrive: 443 to HTTPS, 80 to the redirect."""
    service = cluster.ingress.service
    https: Manifest = {"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}
    if service.node_port is not None:
        https["nodePort"] = service.node_port
    spec: Manifest = {
        "type": service.type,
        "selector": selector(cluster.name, "ingress"),
        "ports": [https, {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }
    if service.type != "ClusterIP":
        spec["externalTrafficPolicy"] = service.external_traffic_policy
    made = metadata(cluster, part_name(cluster.name, "ingress"), "ingress")
    if service.annotations:
        made["annotations"] = dict(service.annotations)
    return {"apiVersion": "v1", "kind": "Service", "metadata": made, "spec": spec}


def proxies_service(cluster: ChatCluster) -> Manifest:
    """Headless: the chatservers see in its DNS name when a proxy leaves, with the operator up or down."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, proxies_service_name(cluster.name), "ingress"),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": selector(cluster.name, "ingress"),
            "ports": [{"name": "https", "port": haproxy.HTTPS_PORT, "targetPort": "https", "protocol": "TCP"}],
        },
    }


def config_map(cluster: ChatCluster, *, https_port: int, cluster_domain: str) -> Manifest:
    """haproxy.cfg and its script.

    Args:
        cluster: The ChatCluster.
        https_port: Port that clients use for HTTPS.
        cluster_domain: DNS domain of the Kubernetes cluster, such as `cluster.local`.
    """
    route = haproxy.Route(
        servers=f"{service_host(cluster, 'chatserver')}.{cluster_domain}",
        servers_port=HTTP_PORT,
        server_connections=_server_connections(cluster),
        https_port=https_port,
        limits=_limits(cluster.ingress),
        trusted_proxies=cluster.ingress.limits.trusted_proxies,
        proxy_protocol_from=cluster.ingress.service.proxy_protocol_from,
        fronted=cluster.ingress.front is not None,
        hostnames=cluster.ingress.hostnames,
        max_connections=_max_connections(cluster.ingress),
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, part_name(cluster.name, "ingress"), "ingress"),
        "data": {"haproxy.cfg": haproxy.render(route), haproxy.SCRIPT_NAME: haproxy.SCRIPT},
    }


def _server_connections(cluster: ChatCluster) -> int:
    """Each proxy's share of what a server takes: 12,500 over 3 proxies -> 6,250 each; over 2 or 1 -> 12,500.

    Made for one proxy less than there are: while one is unavailable the others carry its clients. The server's own cap
    holds over all of them.
    """
    return -(-cluster.chatserver.max_connections // max(1, cluster.ingress.replicas - 1))


def _max_connections(spec: Ingress) -> int:
    """What fits seven eighths of the memory limit: 1Gi -> 12,288 connections, 2Gi -> 25,031."""
    memory = number(usable(DEFAULT_REQUESTS, DEFAULT_LIMITS, spec.resources)["memory"])
    return max(LEAST_CONNECTIONS, int(memory * 7 / 8 - OWN_BYTES) // CONNECTION_BYTES)


def _limits(spec: Ingress) -> ClientLimits:
    """Each proxy's share of the limits: Kubernetes spreads a client's connections over all of them."""
    return ClientLimits(
        requests_per_second=_share(spec.limits.requests_per_second_per_address, spec.replicas),
        connections=_share(spec.limits.connections_per_address, spec.replicas),
    )


def _share(limit: int | None, proxies: int) -> int | None:
    """Rounded up: 5 over 2 proxies -> 3 each."""
    return None if limit is None else -(-limit // proxies)


def _ports(spec: Ingress) -> list[tuple[str, int]]:
    front = [("front", haproxy.FRONT_PORT)] if spec.front is not None else []
    return [("http", haproxy.HTTP_PORT), ("https", haproxy.HTTPS_PORT), *front, ("metrics", haproxy.STATISTICS_PORT)]


def deployment(cluster: ChatCluster, *, image: str, pull_policy: str, config: Manifest) -> Manifest:
    """The HAProxy pods. Their template does not follow the certificate: HAProxy re-reads it.

    Args:
        cluster: The ChatCluster.
        image: Image to run.
        pull_policy: imagePullPolicy.
        config: The ConfigMap made by config_map().
    """
    name, spec = part_name(cluster.name, "ingress"), cluster.ingress.pod_template
    container: Manifest = {
        "name": "haproxy",
        "image": image,
        "imagePullPolicy": pull_policy,
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _ports(cluster.ingress)],
        "env": [{"name": haproxy.ADDRESSES_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}],
        "resources": resources(DEFAULT_REQUESTS, DEFAULT_LIMITS, cluster.ingress.resources),
        "securityContext": container_security(),
        "startupProbe": http_probe("/healthz", "metrics", period_seconds=1, failures=60),
        "livenessProbe": http_probe("/healthz", "metrics", period_seconds=10, failures=3),
        "readinessProbe": {
            **http_probe("/healthz", "metrics", period_seconds=2, failures=2),
            "initialDelaySeconds": FIND_SERVERS_SECONDS,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": haproxy.LEAVE_ENDPOINTS_SECONDS}}},
        "volumeMounts": [
            {"name": "config", "mountPath": haproxy.CONFIG_FOLDER, "readOnly": True},
            {"name": "tls", "mountPath": "/etc/haproxy/tls", "readOnly": True},
            {"name": "run", "mountPath": "/run/haproxy"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
        ],
    }
    volumes: list[Manifest] = [
        {"name": "config", "configMap": {"name": name}},
        secret_volume("tls", tls_secret_name(cluster.name), {"tls.crt": "tls.crt", "tls.key": "tls.key"}),
        scratch("run"),
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(cluster, name, "ingress"),
        "spec": {
            "replicas": cluster.ingress.replicas,
            "revisionHistoryLimit": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector(cluster.name, "ingress")},
            "template": {
                "metadata": pod_metadata(
                    cluster.name, "ingress", spec, {CONFIG_HASH_ANNOTATION: _restart_digest(config)}
                ),
                "spec": {
                    **pod_spec(
                        user_id=SERVICE_USER_ID,
                        containers=[container],
                        volumes=volumes,
                        pull_secrets=cluster.images.pull_secrets,
                        termination_grace_seconds=TERMINATION_GRACE_SECONDS,
                        spread_over=selector(cluster.name, "ingress"),
                    ),
                    **placement(cluster.name, "ingress", spec),
                    "tolerations": tolerations(spec.tolerations),
                },
            },
        },
    }


def _restart_digest(config: Manifest) -> str:
    """Changes with what HAProxy restarts for."""
    return digest({name: without_restart(text) for name, text in config["data"].items()})
