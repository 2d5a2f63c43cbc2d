"""PostgreSQL: its configuration, claim, Service and StatefulSet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api.database import MAX_CONNECTIONS_DEFAULT
from chatoperator.api.quantity import number
from chatoperator.metadata import (
    CONFIG_HASH_ANNOTATION,
    RESTORE_ANNOTATION,
    claim_name,
    database_secret_name,
    digest,
    metadata,
    part_name,
    selector,
)
from chatoperator.parts.backup import access as backup_access
from chatoperator.parts.backup import restore
from chatoperator.parts.credentials import DATABASE_NAME
from chatoperator.parts.database import tuning
from chatoperator.parts.database.logins import OWNER
from chatoperator.parts.database.parameters import restart_digest
from chatoperator.parts.placement import placement, pod_metadata
from chatoperator.parts.pod import (
    POSTGRES_USER_ID,
    container_security,
    pod_spec,
    resources,
    scratch,
    secret_volume,
    usable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

PORT = 5432
AGENT_PORT = 8010
"""Where the operator reads what the agent has done, and Prometheus its metrics; nothing there is secret."""

AGENT_STATUS_PATH = "/status"

CONFIG_FILE, REVISION_KEY = "postgresql.conf", "revision"
"""Keys of the ConfigMap. The agent repeats the revision of what PostgreSQL has taken over or refused."""

DEFAULT_REQUESTS = {"cpu": "50m", "memory": "128Mi"}
DEFAULT_LIMITS = {"cpu": "2", "memory": "1Gi"}
"""For a first chat. Production examples raise both."""

AGENT_REQUESTS = {"cpu": "5m", "memory": "32Mi"}
AGENT_LIMITS = {"cpu": "500m", "memory": "128Mi"}
"""A small Python, and for moments psql or a server that only reads its configuration."""

DEFAULT_PARAMETERS = {
    "max_connections": str(MAX_CONNECTIONS_DEFAULT),
    # Half-open clients after a node dies: found after 30 + 3 x 10 s instead of two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "5min",
}

SHARED_MEMORY_LIMIT = "256Mi"
"""Size of /dev/shm. Container runtimes give 64 MiB, which parallel queries exceed."""

TERMINATION_GRACE_SECONDS = 60
"""A fast shutdown writes one checkpoint; afterwards crash recovery does the same work."""

STARTUP_FAILURES = 360
"""Times 5 s: half an hour for crash recovery before kubelet restarts it into the same recovery."""


def parameters(cluster: ChatCluster, *, volume_size: str) -> dict[str, str]:
    """All that the operator says in postgresql.conf; the user's word is the last.

    Args:
        cluster: The ChatCluster.
        volume_size: Of the volume as it is, which may be less than the spec requires.
    """
    sized = usable(DEFAULT_REQUESTS, DEFAULT_LIMITS, cluster.database.resources)
    derived = tuning.derive(memory=sized["memory"], cpu=sized["cpu"], volume=volume_size)
    archiving = backup_access.parameters(cluster.database.backup)
    return {**DEFAULT_PARAMETERS, **derived, **archiving, **cluster.database.parameters}


def config_map(cluster: ChatCluster, desired: Mapping[str, str], **more: str) -> Manifest:
    """postgresql.conf, which counts once PostgreSQL has found it to be right.

    Args:
        cluster: The ChatCluster.
        desired: Parameters.
        more: Further keys.
    """
    text = "".join(f"{name} = '{_quoted(value)}'\n" for name, value in sorted(desired.items()))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, part_name(cluster.name, "postgres"), "postgres"),
        "data": {CONFIG_FILE: text, REVISION_KEY: digest(text), **more},
    }


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def config_digest(cluster: ChatCluster, *, volume_size: str) -> str:
    """Changes with the parameters that only a restart brings."""
    return restart_digest(parameters(cluster, volume_size=volume_size))


def claim(cluster: ChatCluster, *, volume_size: str, instance: int = 1) -> Manifest:
    """The volume's claim, applied by the operator itself: a StatefulSet would tie it to its own life and template.

    Args:
        cluster: The ChatCluster.
        volume_size: Of the volume as it is. An adopted one may be larger than the spec requires, and cannot shrink.
        instance: Of a database of several instances, the number.
    """
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": max(cluster.database.storage.size, volume_size, key=number)}},
    }
    if cluster.database.storage.storage_class_name is not None:
        spec["storageClassName"] = cluster.database.storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(cluster, claim_name(cluster.name, instance), "postgres", owned=not cluster.retain),
        "spec": spec,
    }


def service(cluster: ChatCluster) -> Manifest:
    """Where chatservers reach the database."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, part_name(cluster.name, "postgres"), "postgres"),
        "spec": {
            "type": "ClusterIP",
            # There is one PostgreSQL; nothing is won by hiding it while its agent, which makes the pod whole, restarts.
            "publishNotReadyAddresses": True,
            "selector": selector(cluster.name, "postgres"),
            "ports": [{"name": "postgresql", "port": PORT, "targetPort": "postgresql", "protocol": "TCP"}],
        },
    }


def stateful_set(
    cluster: ChatCluster,
    *,
    image: str,
    pull_policy: str,
    config_digest: str,
    default_account: bool = False,
    restores: bool = True,
    in_place: Mapping[str, str] | None = None,
) -> Manifest:
    """One PostgreSQL on the claim, and beside it the agent that keeps its passwords and parameters as mounted.

    With backups also the server that hands its files out, and what it archives WAL with.

    Args:
        cluster: The ChatCluster.
        image: Image to run.
        pull_policy: imagePullPolicy.
        config_digest: Changes with the parameters that only a restart brings.
        default_account: Name the account `default`, which an absent one is: the pods had another one.
        restores: It begins with what database.restore says, where the spec has that.
        in_place: Variables of the container that returns it to an earlier state; None where none does.
    """
    # The API server would take an absent one from the deprecated field serviceAccount, and keep the old one.
    account = {"serviceAccountName": "default"} if default_account else {}
    name, template = part_name(cluster.name, "postgres"), cluster.database.pod_template
    config_name = name
    container: Manifest = {
        "name": "postgres",
        "image": image,
        "imagePullPolicy": pull_policy,
        "ports": [{"name": "postgresql", "containerPort": PORT, "protocol": "TCP"}],
        "env": [{"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"}],
        "resources": resources(DEFAULT_REQUESTS, DEFAULT_LIMITS, cluster.database.resources),
        "securityContext": container_security(),
        "startupProbe": {**_ready_probe(), "periodSeconds": 5, "failureThreshold": STARTUP_FAILURES},
        "readinessProbe": {**_ready_probe(), "periodSeconds": 5, "failureThreshold": 2},
        # TCP rather than pg_isready: a database without a free connection is busy, not dead.
        "livenessProbe": {
            "tcpSocket": {"port": "postgresql"},
            "periodSeconds": 10,
            "failureThreshold": 6,
            "timeoutSeconds": 5,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/postgresql/data"},
            {"name": "credentials", "mountPath": "/etc/chatcluster/database", "readOnly": True},
            {"name": "config", "mountPath": "/etc/chatcluster/postgres", "readOnly": True},
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - PostgreSQL's shared memory, not a temporary file
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
        ],
    }
    agent: Manifest = {
        "name": "agent",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": ["agent"],
        "ports": [{"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "env": [dict(variable) for variable in container["env"]],
        "resources": {"requests": dict(AGENT_REQUESTS), "limits": dict(AGENT_LIMITS)},
        "securityContext": container_security(),
        "volumeMounts": [dict(mount) for mount in container["volumeMounts"] if mount["name"] != "shm"],
    }
    containers = [container, agent]
    backed_up = cluster.database.backup is not None
    if backed_up:
        container["volumeMounts"] += backup_access.mounts()
        containers.append(backup_access.server_container(image=image, pull_policy=pull_policy))
    begins = cluster.database.restore if restores else None
    # In place first: while it is interrupted, it may look as if there were no database.
    first = [restore.in_place(in_place, container)] if in_place is not None else []
    first += [restore.container(begins, container)] if begins is not None else []
    before = {"initContainers": first} if first else {}
    annotations = {CONFIG_HASH_ANNOTATION: config_digest}
    if in_place is not None:
        annotations[RESTORE_ANNOTATION] = in_place["RESTORE_ID"]
    volumes: list[Manifest] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": claim_name(cluster.name)}},
        secret_volume("credentials", database_secret_name(cluster.name)),
        {"name": "config", "configMap": {"name": config_name}},
        scratch("run"),
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY_LIMIT}},
        *(backup_access.volumes(cluster.name, backup_access.CLIENT_FILE) if backed_up else ()),
        *(restore.volumes(cluster, begins) if begins is not None else ()),
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(cluster, name, "postgres"),
        "spec": {
            "replicas": 1,
            "serviceName": name,
            # Immutable, so chosen once. OrderedReady would stick on a bad template (kubernetes#67250).
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector(cluster.name, "postgres")},
            "template": {
                "metadata": pod_metadata(cluster.name, "postgres", template, annotations),
                "spec": {
                    **pod_spec(
                        user_id=POSTGRES_USER_ID,
                        containers=containers,
                        volumes=volumes,
                        pull_secrets=cluster.images.pull_secrets,
                        termination_grace_seconds=TERMINATION_GRACE_SECONDS,
                    ),
                    **before,
                    **account,
                    **placement(cluster.name, "postgres", template),
                },
            },
        },
    }


def _ready_probe() -> Manifest:
    # By name: as the superuser, which pg_isready would use, TCP is refused, and each refusal is a line in the log.
    probe = ["pg_isready", "-q", "-h", "127.0.0.1", "-U", OWNER, "-d", DATABASE_NAME]
    return {"exec": {"command": probe}, "timeoutSeconds": 5}
