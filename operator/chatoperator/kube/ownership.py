"""Whose an object is: by its controller and uid, never by its labels alone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import (
    COMPONENT_LABEL,
    FIELD_MANAGER,
    GROUP,
    INSTANCE_LABEL,
    INSTANCES_MAX,
    KIND,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    PATRONI_KEYS,
    WORKLOADS,
    backed_up_name,
    backup_claim_name,
    backup_key_name,
    backup_tls_name,
    bus_secret_name,
    ca_secret_name,
    chatserver_secret_name,
    claim_name,
    database_name,
    database_secret_name,
    front_name,
    issued_secret_name,
    migrate_job_name,
    part_name,
    patroni_name,
    probe_secret_name,
    proxies_service_name,
    replicas_service_name,
    restore_name,
    tls_secret_name,
    workload_key,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chatoperator.metadata import Manifest, ObjectKey, Part

CERTIFICATE_NAME_ANNOTATION = "cert-manager.io/certificate-name"
"""cert-manager writes it on each Secret that it fills."""

RETAINED_KEYS: Mapping[str, frozenset[str]] = {
    "postgres": frozenset({"username", "password", "dsn"}),
    "chatserver": frozenset({"secret-key"}),
    "backup": frozenset({"passphrase"}),
}
"""Keys of the Secrets that outlive a ChatCluster, by component. With the labels they prove whose a Secret is."""


INSTANCES = range(1, INSTANCES_MAX + 1)
"""Numbers that instances of a database may have."""


def own_names(name: str) -> frozenset[ObjectKey]:
    """(kind, name) of everything that the operator makes for some spec of a ChatCluster, but for migrate Jobs."""
    chatserver, ingress, postgres = (part_name(name, part) for part in ("chatserver", "ingress", "postgres"))
    probe, bus, backup = (part_name(name, part) for part in ("probe", "bus", "backup"))
    databases = [database_name(name, instance) for instance in INSTANCES]
    by_kind = {
        "Deployment": (chatserver, ingress, probe),
        "StatefulSet": (*databases, bus, backup),
        "Service": (
            chatserver,
            ingress,
            postgres,
            replicas_service_name(name),
            proxies_service_name(name),
            front_name(name),
            bus,
            backup,
            *(backed_up_name(name, instance) for instance in INSTANCES),
        ),
        "ConfigMap": (
            ingress,
            postgres,
            *(patroni_name(name, key) for key in PATRONI_KEYS),
            bus,
            backup,
            restore_name(name),
        ),
        "Secret": (
            database_secret_name(name),
            chatserver_secret_name(name),
            ca_secret_name(name),
            tls_secret_name(name),
            issued_secret_name(name),
            probe_secret_name(name),
            bus_secret_name(name),
            backup_key_name(name),
            backup_tls_name(name),
        ),
        "PersistentVolumeClaim": (*(claim_name(name, instance) for instance in INSTANCES), backup_claim_name(name)),
        "ServiceAccount": (postgres,),
        "Role": (postgres,),
        "RoleBinding": (postgres,),
        "PodDisruptionBudget": (chatserver, ingress, postgres, bus),
        "NetworkPolicy": (chatserver, ingress, postgres, part_name(name, "migrate"), probe, bus, backup),
        "Ingress": (front_name(name),),
        "HTTPRoute": (front_name(name),),
        "Certificate": (issued_secret_name(name),),
    }
    return frozenset((kind, one) for kind, names in by_kind.items() for one in names)


def is_migrate_job(name: str, job_name: str) -> bool:
    """Whether a Job's name is one that the operator gives a ChatCluster's migrations."""
    return job_name.startswith(migrate_job_name(name, ""))


def retained_names(name: str) -> Mapping[ObjectKey, Part]:
    """What outlives a ChatCluster under deletionPolicy Retain: the part it belongs to by (kind, name)."""
    return {
        **{("PersistentVolumeClaim", claim_name(name, instance)): "postgres" for instance in INSTANCES},
        ("Secret", database_secret_name(name)): "postgres",
        ("Secret", chatserver_secret_name(name)): "chatserver",
        ("PersistentVolumeClaim", backup_claim_name(name)): "backup",
        ("Secret", backup_key_name(name)): "backup",
    }


def controller(raw: Manifest) -> Manifest | None:
    """The owner that controls an object; None where nobody does."""
    owners: list[Manifest] = raw["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def is_chatcluster(owner: Manifest) -> bool:
    """Whether an owner reference names a ChatCluster."""
    return bool(owner["kind"] == KIND and str(owner.get("apiVersion", "")).startswith(f"{GROUP}/"))


def is_child(raw: Manifest, uid: str) -> bool:
    """Whether the ChatCluster with this uid controls an object."""
    owner = controller(raw)
    return owner is not None and is_chatcluster(owner) and owner["uid"] == uid


def is_ours(kind: str, raw: Manifest, *, name: str, uid: str, known: Collection[str]) -> bool:
    """Whether the operator may write to an object of one of the names that it makes.

    Args:
        kind: Of the object.
        raw: The object. Without `managedFields` one that lost its owner counts as somebody else's.
        name: Of the ChatCluster.
        uid: Of the ChatCluster.
        known: uids of the irreplaceable objects that its status has recorded.
    """
    metadata = raw["metadata"]
    if metadata.get("uid") in known:
        return True
    owner = controller(raw)
    if owner is not None:
        # One of the same name and another uid is gone: what it left is taken over, or collected.
        return is_chatcluster(owner) and (owner["uid"] == uid or owner["name"] == name)
    if (kind, metadata["name"]) in retained_names(name):
        return _labelled(metadata, name) and _has_keys(kind, raw)
    if (kind, metadata["name"]) == ("Secret", issued_secret_name(name)):
        return bool((metadata.get("annotations") or {}).get(CERTIFICATE_NAME_ANNOTATION) == metadata["name"])
    return _labelled(metadata, name) and _applied(metadata)


def is_pod_of(raw: Manifest, name: str, children: Mapping[ObjectKey, Manifest], others: Collection[ObjectKey]) -> bool:
    """Whether a pod is of a workload that the operator made for a ChatCluster; labels are easily copied.

    A ReplicaSet is known by its name, which is the Deployment's and the hash of the template: Kubernetes collects a pod
    whose owner reference names no object with that uid, so that a name is as good as the uid and needs no ReplicaSets
    to be read. Of the predecessor of a workload that was recreated only what is on its way out counts.

    >>> owner = {
    ...     "apiVersion": "apps/v1",
    ...     "kind": "ReplicaSet",
    ...     "name": "demo-ingress-5d4f",
    ...     "uid": "1",
    ...     "controller": True,
    ... }
    >>> pod = {"metadata": {"labels": {COMPONENT_LABEL: "ingress"}, "ownerReferences": [owner]}}
    >>> is_pod_of(pod, "demo", {}, set())
    True
    >>> is_pod_of({"metadata": {**pod["metadata"], "ownerReferences": []}}, "demo", {}, set())
    False

    Args:
        raw: A pod with the ChatCluster's labels.
        name: Of the ChatCluster.
        children: What the operator made for it, by (kind, name).
        others: (kind, name) of what somebody else has under such a name.
    """
    key = workload_of(raw, name)
    if key is None or key in others:
        return False
    owner, live = controller(raw) or {}, children.get(key)
    same = owner["kind"] == "ReplicaSet" or live is None or owner["uid"] == live["metadata"]["uid"]
    return same or "deletionTimestamp" in raw["metadata"]


def workload_of(raw: Manifest, name: str) -> ObjectKey | None:
    """(kind, name) of the workload of a ChatCluster whose pod this says to be; None where it says nothing of the kind.

    Args:
        raw: A pod with the ChatCluster's labels.
        name: Of the ChatCluster.
    """
    owner = controller(raw)
    if owner is None or str(owner.get("apiVersion")).partition("/")[0] not in ("apps", "batch"):
        return None
    by_hash = owner["kind"] == "ReplicaSet"
    key = ("Deployment", owner["name"].rpartition("-")[0]) if by_hash else (owner["kind"], owner["name"])
    component = (raw["metadata"].get("labels") or {}).get(COMPONENT_LABEL)
    made = {str(part): workload_key(name, part) for part in WORKLOADS}
    is_job = component == "migrate" and key[0] == "Job" and is_migrate_job(name, key[1])
    is_member = component == "postgres" and key in {("StatefulSet", database_name(name, one)) for one in INSTANCES}
    return key if is_job or is_member or made.get(str(component)) == key else None


def owner_in_words(raw: Manifest) -> str:
    """Who has an object, for a message."""
    owner = controller(raw)
    if owner is not None:
        return f"it belongs to {owner['kind']} {owner['name']}"
    managers = [entry.get("manager") for entry in raw["metadata"].get("managedFields") or []]
    return f"it was created by {managers[0]}" if managers else "it has no owner"


def _labelled(metadata: Manifest, name: str) -> bool:
    labels = metadata.get("labels") or {}
    return bool(labels.get(MANAGED_BY_LABEL) == MANAGED_BY and labels.get(INSTANCE_LABEL) == name)


def _has_keys(kind: str, raw: Manifest) -> bool:
    if kind != "Secret":
        return True
    component = str((raw["metadata"].get("labels") or {}).get(COMPONENT_LABEL))
    return RETAINED_KEYS.get(component, frozenset({""})) <= (raw.get("data") or {}).keys()


def _applied(metadata: Manifest) -> bool:
    """Whether the operator has applied an object; a copy that somebody else made has other managers."""
    return any(
        entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        for entry in metadata.get("managedFields") or []
    )
