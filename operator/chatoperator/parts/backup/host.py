"""The backup pod: it alone has the repository and its credentials. Its claim, Services and StatefulSet. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api.pods import PodTemplate
from chatoperator.api.quantity import number
from chatoperator.metadata import (
    CONFIG_HASH_ANNOTATION,
    backed_up_name,
    backup_claim_name,
    backup_key_name,
    member_name,
    metadata,
    part_name,
    selector,
)
from chatoperator.parts.backup.access import (
    HOST_FILE,
    PLAN_FILE,
    PORT,
    PORT_NAME,
    mounts,
    volumes,
)
from chatoperator.parts.backup.configuration import REPOSITORY_FOLDER
from chatoperator.parts.backup.stores import environment, store_mounts, store_volumes
from chatoperator.parts.placement import pod_metadata
from chatoperator.parts.pod import (
    POSTGRES_USER_ID,
    container_security,
    http_probe,
    pod_spec,
    resources,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.backup import Backup, Drill, VolumeRepository
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

STATUS_PORT = 9188
"""Where the operator reads the agent's report, and Prometheus its metrics; nothing there is secret."""

STATUS_PATH, HEALTH_PATH = "/status", "/healthz"

DEFAULT_REQUESTS = {"cpu": "20m", "memory": "64Mi"}
DEFAULT_LIMITS = {"cpu": "2", "memory": "512Mi"}
DRILL_LIMITS = {"cpu": "2", "memory": "1Gi"}
"""With drills: a PostgreSQL with 64 MiB of buffers replays WAL, and checks two tables with 64 MiB each."""

SCRATCH_FOLDER = "/drill"

TERMINATION_GRACE_SECONDS = 60
"""An interrupted backup is resumed by the next one, which keeps what is copied."""

STARTUP_FAILURES = 60

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
"""Kubernetes itself sets it on the pods of StatefulSets."""


def claim(cluster: ChatCluster, spec: VolumeRepository, *, volume_size: str) -> Manifest:
    """The claim of a repository on a volume, which outlives the ChatCluster as that of the database does.

    Args:
        cluster: The ChatCluster.
        spec: Its database.backup.repository.volume.
        volume_size: Of the volume as it is, which cannot shrink.
    """
    made: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": max(spec.size, volume_size, key=number)}},
    }
    if spec.storage_class_name is not None:
        made["storageClassName"] = spec.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(cluster, backup_claim_name(cluster.name), "backup", owned=not cluster.retain),
        "spec": made,
    }


def service(cluster: ChatCluster) -> Manifest:
    """Where PostgreSQL's pods reach the backup pod."""
    return _service(cluster, part_name(cluster.name, "backup"), selector(cluster.name, "backup"))


def instance_service(cluster: ChatCluster, instance: int) -> Manifest:
    """Where the backup pod reaches one instance of the database, whatever Services its StatefulSet has."""
    pods = {**selector(cluster.name, "postgres"), POD_NAME_LABEL: member_name(cluster.name, instance)}
    return _service(cluster, backed_up_name(cluster.name, instance), pods)


def _service(cluster: ChatCluster, name: str, pods: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, name, "backup"),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            # A pod that is not ready may be the one whose files are needed.
            "publishNotReadyAddresses": True,
            "selector": pods,
            "ports": [{"name": PORT_NAME, "port": PORT, "targetPort": PORT_NAME, "protocol": "TCP"}],
        },
    }


def stateful_set(
    cluster: ChatCluster,
    spec: Backup,
    *,
    image: str,
    pull_policy: str,
    secret_digest: str,
    key_type: str | None,
    database_size: str,
) -> Manifest:
    """The one backup pod.

    Args:
        cluster: The ChatCluster.
        spec: Its database.backup.
        image: PostgreSQL's.
        pull_policy: imagePullPolicy.
        secret_digest: Changes with what the pod reads of Secrets when it starts.
        key_type: Of Azure's key, `shared` or `sas`; None where it is not known, or not Azure's.
        database_size: Of the database's volume, as much as drills need unless they say otherwise.
    """
    name, kept = part_name(cluster.name, "backup"), spec.repository.volume is not None
    key_name = spec.encryption.secret_name or backup_key_name(cluster.name)
    container: Manifest = {
        "name": "backup",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": ["backup"],
        "ports": [
            {"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": STATUS_PORT, "protocol": "TCP"},
        ],
        "env": environment(spec.repository, key_name, key_type),
        "resources": resources(DEFAULT_REQUESTS, limits(spec), spec.resources),
        "securityContext": container_security(),
        "startupProbe": http_probe(HEALTH_PATH, "metrics", period_seconds=1, failures=STARTUP_FAILURES),
        "readinessProbe": http_probe(HEALTH_PATH, "metrics", period_seconds=5, failures=2),
        "livenessProbe": http_probe(HEALTH_PATH, "metrics", period_seconds=10, failures=6),
        "volumeMounts": [
            *([{"name": "repository", "mountPath": REPOSITORY_FOLDER}] if kept else []),
            *mounts(),
            *store_mounts(spec.repository),
            *([{"name": "drill", "mountPath": SCRATCH_FOLDER}] if spec.drill is not None else []),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
        ],
    }
    claim = {"name": "repository", "persistentVolumeClaim": {"claimName": backup_claim_name(cluster.name)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(cluster, name, "backup"),
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector(cluster.name, "backup")},
            "template": {
                "metadata": pod_metadata(
                    cluster.name, "backup", PodTemplate(), {CONFIG_HASH_ANNOTATION: secret_digest}
                ),
                "spec": pod_spec(
                    user_id=POSTGRES_USER_ID,
                    containers=[container],
                    volumes=[
                        *([claim] if kept else []),
                        *volumes(cluster.name, HOST_FILE, PLAN_FILE),
                        *store_volumes(spec.repository),
                        *([] if spec.drill is None else [_scratch(spec.drill, database_size)]),
                    ],
                    pull_secrets=cluster.images.pull_secrets,
                    termination_grace_seconds=TERMINATION_GRACE_SECONDS,
                ),
            },
        },
    }


def limits(spec: Backup) -> Mapping[str, str]:
    """Limits of the container without `resources` of an admin."""
    return DEFAULT_LIMITS if spec.drill is None else DRILL_LIMITS


def _scratch(spec: Drill, database_size: str) -> Manifest:
    """Where drills restore to: a volume that Kubernetes makes with the pod, and deletes with it."""
    claim: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": spec.size or database_size}},
    }
    if spec.storage_class_name is not None:
        claim["storageClassName"] = spec.storage_class_name
    return {"name": "drill", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
