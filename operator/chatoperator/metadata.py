"""The only place where names, labels, annotations and owners are made."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster

Part = Literal["ingress", "chatserver", "postgres", "migrate", "probe", "bus", "backup"]

STATEFUL: frozenset[Part] = frozenset({"postgres", "bus", "backup"})
"""Parts whose pods have names of their own: their workload is a StatefulSet, that of the others a Deployment."""

WORKLOADS: tuple[Part, ...] = ("ingress", "chatserver", "postgres", "probe", "bus", "backup")
"""Parts that run all the time; a migration is a Job, of which there may be several."""

Manifest = dict[str, Any]

ObjectKey = tuple[str, str]
"""(kind, name) of an object in the ChatCluster's namespace."""

GROUP = "chatcluster.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ChatCluster"

INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "chatcluster-operator"
FIELD_MANAGER = "chatcluster-operator"
"""Owner of the fields the operator applies. Changing it would leave the old one's fields behind."""

MANAGED_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
"""Every object that the operator makes, and no other."""

CONFIG_HASH_ANNOTATION = f"{GROUP}/config-hash"
"""On pod templates: rolls pods when configuration changes that the process cannot re-read."""

CREDENTIALS_HASH_ANNOTATION = f"{GROUP}/credentials-hash"
"""On running pods, never in their templates: each change makes kubelet refresh at once what is mounted there and
re-read in place. On chatservers it is the DSN's, on PostgreSQL that of its passwords and parameters."""

DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes removes the pods of a Deployment with the lowest cost first."""

CERTIFICATE_HASH_ANNOTATION = f"{GROUP}/certificate-hash"
"""On running HAProxy pods: makes kubelet refresh the mounted certificate at once, which HAProxy re-reads."""

SAFE_TO_EVICT_ANNOTATION = "cluster-autoscaler.kubernetes.io/safe-to-evict"
SAFE_TO_EVICT_VOLUMES_ANNOTATION = f"{SAFE_TO_EVICT_ANNOTATION}-local-volumes"
"""The cluster autoscaler's: whether a pod may be evicted, and which of its emptyDirs are no reason against it."""

SCHEMA_ANNOTATION = f"{GROUP}/schema"
"""On the chatserver Deployment: the migrate Job after which its template was applied."""

OUTLIVED_ANNOTATION = f"{GROUP}/outlived"
"""On a migrate Job: its own container ended with 0 while an injected one ran on, which the operator then ended."""

BACKUP_ANNOTATION = f"{GROUP}/backup"
"""On the ChatCluster: each new value requests a backup now."""

DRILL_ANNOTATION = f"{GROUP}/drill"
"""On the ChatCluster: each new value requests a restore drill now, where there are drills."""

RESTORE_ANNOTATION = f"{GROUP}/restore"
"""On the ChatCluster: requests a restore in place, as JSON. On the pod of the database: the restore that it makes."""

KEPT_ANNOTATIONS = {
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
}
"""On what has no owner. With label tracking Argo CD takes what has an Application's name as app.kubernetes.io/instance
for that Application's, and would prune a chat's volume and keys as something that is not in Git."""

DATABASE_LABEL = f"{GROUP}/database"
"""On the members of a replicated database and on Patroni's ConfigMaps: by it Patroni finds what belongs together."""

DATABASE_INSTANCE_LABEL = f"{GROUP}/database-instance"
"""On the pods of a replicated database: the number of the instance."""

ROLE_LABEL = f"{GROUP}/role"
"""On the pods of a replicated database, written by Patroni: `primary` or `replica`, absent while it starts."""

TEMPLATE_HASH_ANNOTATION = f"{GROUP}/template-hash"
"""On the StatefulSets of a replicated database: the pod template that was applied last."""

INSTANCES_MAX = 5
"""Of a database."""

PATRONI_KEYS = ("config", "failover", "leader", "sync")
"""Ends of the names of the ConfigMaps in which Patroni keeps its state."""

HASH_HEX_DIGITS = 10
"""Enough against accidents, short enough for a name: 40 bits."""


def part_name(cluster_name: str, part: Part) -> str:
    """Name of a part's workload, Service and ConfigMap: `demo`, `ingress` -> `demo-ingress`."""
    return f"{cluster_name}-{part}"


def workload_key(cluster_name: str, part: Part) -> ObjectKey:
    """Kind and name of the workload of a part of WORKLOADS."""
    return "StatefulSet" if part in STATEFUL else "Deployment", part_name(cluster_name, part)


def proxies_service_name(cluster_name: str) -> str:
    """Headless Service whose DNS name has the address of every HAProxy pod that does not leave."""
    return f"{cluster_name}-ingress-proxies"


def front_name(cluster_name: str) -> str:
    """What stands in front of HAProxy, and the Service by which it is reached from there."""
    return f"{cluster_name}-front"


def database_secret_name(cluster_name: str) -> str:
    """Secret with username, password, database and dsn."""
    return f"{cluster_name}-database"


def chatserver_secret_name(cluster_name: str) -> str:
    """Secret with secret-key."""
    return f"{cluster_name}-chatserver"


def ca_secret_name(cluster_name: str) -> str:
    """Secret with the authority's own key. No pod mounts it."""
    return f"{cluster_name}-ingress-ca"


def tls_secret_name(cluster_name: str) -> str:
    """Secret with tls.crt, tls.key and ca.crt."""
    return f"{cluster_name}-ingress-tls"


def issued_secret_name(cluster_name: str) -> str:
    """Certificate of cert-manager, and the Secret that it fills. No pod mounts it."""
    return f"{cluster_name}-ingress-issued"


def probe_secret_name(cluster_name: str) -> str:
    """Secret with the tokens of the probe's accounts."""
    return f"{cluster_name}-probe"


def bus_secret_name(cluster_name: str) -> str:
    """Secret with the passwords and the certificate of the Valkey pods."""
    return f"{cluster_name}-bus"


def backup_key_name(cluster_name: str) -> str:
    """Secret with the passphrase of the repository's encryption."""
    return f"{cluster_name}-backup-key"


def backup_tls_name(cluster_name: str) -> str:
    """Secret with the authority and the certificate by which the backup pod and the database know each other."""
    return f"{cluster_name}-backup-tls"


def backup_claim_name(cluster_name: str) -> str:
    """PersistentVolumeClaim of a repository on a volume."""
    return f"{cluster_name}-backup-data"


def restore_name(cluster_name: str) -> str:
    """ConfigMap of the container that restores a database before PostgreSQL starts."""
    return f"{cluster_name}-backup-restore"


def backed_up_name(cluster_name: str, instance: int) -> str:
    """Service by which the backup pod reaches one instance of the database: `demo-backup-1`."""
    return f"{cluster_name}-backup-{instance}"


def database_name(cluster_name: str, instance: int = 1) -> str:
    """StatefulSet of an instance of the database: `demo-postgres`, `demo-postgres-2`."""
    name = part_name(cluster_name, "postgres")
    return name if instance == 1 else f"{name}-{instance}"


def member_name(cluster_name: str, instance: int) -> str:
    """Pod of an instance of the database, by which Patroni knows it: `demo-postgres-2-0`."""
    return f"{database_name(cluster_name, instance)}-0"


def claim_name(cluster_name: str, instance: int = 1) -> str:
    """PersistentVolumeClaim of an instance of the database."""
    return f"{database_name(cluster_name, instance)}-data"


def replicas_service_name(cluster_name: str) -> str:
    """Service that reaches the replicas of the database, for reading."""
    return f"{part_name(cluster_name, 'postgres')}-replicas"


def patroni_name(cluster_name: str, key: str) -> str:
    """ConfigMap of Patroni's: `demo`, `leader` -> `demo-postgres-leader`."""
    return f"{part_name(cluster_name, 'postgres')}-{key}"


def migrate_job_name(cluster_name: str, digest: str) -> str:
    """Job that brings the schema up to date."""
    return f"{cluster_name}-migrate-{digest}"


def service_host(cluster: ChatCluster, part: Part) -> str:
    """Host name of a part's Service inside the cluster, without the cluster's domain."""
    return f"{part_name(cluster.name, part)}.{cluster.namespace}.svc"


def selector(cluster_name: str, part: Part) -> dict[str, str]:
    """Labels that select a part's pods. Immutable in Kubernetes: never add to them."""
    return {
        "app.kubernetes.io/name": "chatcluster",
        INSTANCE_LABEL: cluster_name,
        COMPONENT_LABEL: part,
    }


def selector_text(labels: dict[str, str]) -> str:
    """A label selector as text, for the API and the scale subresource."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def instance_selector(cluster_name: str) -> str:
    """Everything the operator made for one ChatCluster."""
    return selector_text({INSTANCE_LABEL: cluster_name, MANAGED_BY_LABEL: MANAGED_BY})


def labels(cluster_name: str, part: Part) -> dict[str, str]:
    """Labels of everything that belongs to a part."""
    return {
        **selector(cluster_name, part),
        MANAGED_BY_LABEL: MANAGED_BY,
        "app.kubernetes.io/part-of": "chatcluster",
    }


def owner(name: str, uid: str) -> Manifest:
    """Owner reference to a ChatCluster, so that deleting it is garbage collection alone."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": name,
        "uid": uid,
        "controller": True,
        # False: True would need the right to update finalizers, and would hold up foreground deletion of a namespace.
        "blockOwnerDeletion": False,
    }


def metadata(cluster: ChatCluster, name: str, part: Part, *, owned: bool = True) -> Manifest:
    """Metadata of a child. `owned=False` lets the child outlive the ChatCluster."""
    made: Manifest = {"name": name, "namespace": cluster.namespace, "labels": labels(cluster.name, part)}
    if owned:
        made["ownerReferences"] = [owner(cluster.name, cluster.uid)]
    else:
        made["annotations"] = dict(KEPT_ANNOTATIONS)
    return made


def digest(value: object) -> str:
    """Short stable hash of anything JSON can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_HEX_DIGITS]
