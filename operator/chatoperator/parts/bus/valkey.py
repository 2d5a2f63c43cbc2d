"""Valkey: its configuration, Service and StatefulSet. It holds nothing that cannot be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api.pods import Resources
from chatoperator.api.quantity import number
from chatoperator.metadata import CONFIG_HASH_ANNOTATION, bus_secret_name, digest, metadata, part_name, selector
from chatoperator.parts.bus.access import PORT
from chatoperator.parts.bus.credentials import (
    ACL_KEY,
    CERTIFICATE_KEY,
    METRICS_PASSWORD_KEY,
    METRICS_USER,
    PRIVATE_KEY_KEY,
)
from chatoperator.parts.placement import placement, pod_metadata, tolerations
from chatoperator.parts.pod import (
    SERVICE_USER_ID,
    container_security,
    pod_spec,
    resources,
    scratch,
    secret_volume,
    usable,
)

if TYPE_CHECKING:
    from chatoperator.api.bus import Valkey
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

METRICS_PORT = 9121

DEFAULT_REQUESTS = {"cpu": "50m", "memory": "64Mi"}
DEFAULT_LIMITS = {"cpu": "1", "memory": "256Mi"}
"""A user who is connected takes about 150 bytes: a million of them fit. Valkey uses one core."""

EXPORTER_REQUESTS = {"cpu": "5m", "memory": "16Mi"}
EXPORTER_LIMITS = {"cpu": "200m", "memory": "64Mi"}

CONFIG_FOLDER, CONFIG_FILE = "/etc/chatcluster/valkey", "valkey.conf"
SECRET_FOLDER = "/etc/chatcluster/bus"  # noqa: S105 - a folder
SOCKET = "/run/valkey/valkey.sock"
"""For the exporter and for probes: without TLS, and only inside the pod."""

RECONNECT_SECONDS = 10
"""Between the restart of two Valkeys: servers have registered their users with the first one again by then."""

TERMINATION_GRACE_SECONDS = 10


def service(cluster: ChatCluster) -> Manifest:
    """Headless: each Valkey has a name. Also while it is not ready, since no other one has its share of the users."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, part_name(cluster.name, "bus"), "bus"),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(cluster.name, "bus"),
            "ports": [{"name": "valkey", "port": PORT, "targetPort": "valkey", "protocol": "TCP"}],
        },
    }


def config_map(cluster: ChatCluster, spec: Valkey) -> Manifest:
    """valkey.conf: memory only, TLS, and no user that has no password."""
    options = {
        "bind": "* -::*",
        "protected-mode": "no",
        "port": "0",
        "tls-port": str(PORT),
        "tls-cert-file": f"{SECRET_FOLDER}/{CERTIFICATE_KEY}",
        "tls-key-file": f"{SECRET_FOLDER}/{PRIVATE_KEY_KEY}",
        "tls-auth-clients": "no",
        "unixsocket": SOCKET,
        "unixsocketperm": "700",
        "aclfile": f"{SECRET_FOLDER}/{ACL_KEY}",
        "databases": "1",
        "dir": "/tmp",  # noqa: S108 - a volume of this pod alone
        "save": '""',
        "appendonly": "no",
        "maxmemory": str(_max_memory(spec)),
        # Evicted users would silently get no hints: with an error, servers read the database until there is room.
        "maxmemory-policy": "noeviction",
    }
    text = "".join(f"{name} {value}\n" for name, value in options.items())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, part_name(cluster.name, "bus"), "bus"),
        "data": {CONFIG_FILE: text},
    }


def _max_memory(spec: Valkey) -> int:
    """Bytes for data: three quarters of the limit, the rest is for buffers of connections. 256Mi -> 192 MiB."""
    return int(number(usable(DEFAULT_REQUESTS, DEFAULT_LIMITS, spec.resources)["memory"]) * 3 / 4)


def stateful_set(
    cluster: ChatCluster,
    spec: Valkey,
    *,
    image: str,
    pull_policy: str,
    replicas: int,
    config: Manifest,
    secret_digest: str,
) -> Manifest:
    """The Valkeys. Their names are stable, because user `n` is on number `n` modulo their count.

    Args:
        cluster: The ChatCluster.
        spec: Its bus.valkey.
        image: Image to run.
        pull_policy: imagePullPolicy.
        replicas: How many; more than the spec requires while chatservers still use more.
        config: The ConfigMap made by config_map().
        secret_digest: Changes with what Valkey reads of its Secret when it starts.
    """
    name, template = part_name(cluster.name, "bus"), spec.pod_template
    valkey: Manifest = {
        "name": "valkey",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": [f"{CONFIG_FOLDER}/{CONFIG_FILE}"],
        "ports": [{"name": "valkey", "containerPort": PORT, "protocol": "TCP"}],
        "resources": resources(DEFAULT_REQUESTS, DEFAULT_LIMITS, spec.resources),
        "securityContext": container_security(),
        "startupProbe": _probe(period_seconds=1, failures=60),
        "readinessProbe": _probe(period_seconds=5, failures=2),
        "livenessProbe": _probe(period_seconds=10, failures=6),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "bus", "mountPath": SECRET_FOLDER, "readOnly": True},
            {"name": "run", "mountPath": "/run/valkey"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
        ],
    }
    exporter: Manifest = {
        "name": "exporter",
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": ["prometheus-redis-exporter"],
        "args": [
            f"--redis.addr=unix://{SOCKET}",
            f"--redis.user={METRICS_USER}",
            f"--web.listen-address=:{METRICS_PORT}",
            "--namespace=valkey",
            # What this user may not read.
            "--config-command=-",
            "--set-client-name=false",
            "--exclude-latency-histogram-metrics",
        ],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "env": [
            {
                "name": "REDIS_PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": bus_secret_name(cluster.name), "key": METRICS_PASSWORD_KEY}},
            }
        ],
        "resources": resources(EXPORTER_REQUESTS, EXPORTER_LIMITS, Resources()),
        "securityContext": container_security(),
        "volumeMounts": [{"name": "run", "mountPath": "/run/valkey"}],
    }
    volumes: list[Manifest] = [
        {"name": "config", "configMap": {"name": name}},
        # Without the passwords and without the authority's key.
        secret_volume(
            "bus", bus_secret_name(cluster.name), {key: key for key in (ACL_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY)}
        ),
        scratch("run"),
    ]
    hashed = digest([config["data"], secret_digest])
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(cluster, name, "bus"),
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "minReadySeconds": RECONNECT_SECONDS,
            "selector": {"matchLabels": selector(cluster.name, "bus")},
            "template": {
                "metadata": pod_metadata(cluster.name, "bus", template, {CONFIG_HASH_ANNOTATION: hashed}),
                "spec": {
                    **pod_spec(
                        user_id=SERVICE_USER_ID,
                        containers=[valkey, exporter],
                        volumes=volumes,
                        pull_secrets=cluster.images.pull_secrets,
                        termination_grace_seconds=TERMINATION_GRACE_SECONDS,
                        spread_over=selector(cluster.name, "bus"),
                    ),
                    **placement(cluster.name, "bus", template),
                    "tolerations": tolerations(template.tolerations),
                },
            },
        },
    }


def _probe(*, period_seconds: int, failures: int) -> Manifest:
    """By kubelet. That this user may not call PING is an answer, too."""
    return {
        "exec": {"command": ["valkey-cli", "-s", SOCKET, "ping"]},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "timeoutSeconds": 3,
    }
