"""What the cache keeps of an object: nothing of what can be no ChatCluster's, and of the others what is read. Pure.

Tenants can give any object the operator's labels. Names and controllers show which objects it can have created.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.kube.contest import WRITERS_FIELD, writers
from chatoperator.kube.decoding import EXCERPT_LABELS, IDENTITY
from chatoperator.kube.objects import RESTORING
from chatoperator.kube.ownership import controller, is_migrate_job, own_names, workload_of
from chatoperator.metadata import (
    CERTIFICATE_HASH_ANNOTATION,
    CREDENTIALS_HASH_ANNOTATION,
    DELETION_COST_ANNOTATION,
    GROUP,
    INSTANCE_LABEL,
    KIND,
    MANAGED_BY,
    RESTORE_ANNOTATION,
    ROLE_LABEL,
    SAFE_TO_EVICT_ANNOTATION,
    SAFE_TO_EVICT_VOLUMES_ANNOTATION,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chatoperator.kube.lanes import Key
    from chatoperator.metadata import Manifest

LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"

PATRONIS_ANNOTATIONS = frozenset(
    {
        *("acquireTime", "failsafe", "history", "optime", "quorum", "renewTime", "retain_slots", "scheduled_at"),
        *("slots", "transitions", "ttl"),
    }
)
"""Of Patroni's ConfigMaps, what nobody reads here; some of it changes every 5 s."""

TEXT_MAX = 2_000
"""Characters of each text of a pod that is kept; kubelet's longest message has fewer."""

CONTAINERS_MAX, CONDITIONS_MAX = 16, 32
"""Of a pod, that are kept."""

POD_LABELS = frozenset((*EXCERPT_LABELS, ROLE_LABEL))
POD_ANNOTATIONS = frozenset(
    {
        CERTIFICATE_HASH_ANNOTATION,
        CREDENTIALS_HASH_ANNOTATION,
        DELETION_COST_ANNOTATION,
        RESTORE_ANNOTATION,
        SAFE_TO_EVICT_ANNOTATION,
        SAFE_TO_EVICT_VOLUMES_ANNOTATION,
    }
)
POD_STATUS = ("phase", "podIP", "hostIP")


def owner_of(kind: str, raw: Manifest) -> Key:
    """The ChatCluster that an object belongs to by its label; a ChatCluster's own key."""
    metadata = raw["metadata"]
    name = metadata["name"] if kind == KIND else (metadata.get("labels") or {}).get(INSTANCE_LABEL, "")
    return metadata["namespace"], str(name)


def kept(kind: str, raw: Manifest) -> Manifest | None:
    """What the cache keeps of an object; None where it can be no ChatCluster's.

    Who owns which field, and what kubectl has applied, is half of an object, and of that only who writes it is of use.

    Args:
        kind: Of the object: lists leave it out.
        raw: The object with the operator's label, or a ChatCluster.
    """
    metadata = raw["metadata"]
    if kind == KIND:
        # Only the operator's own are read, and what is in others is anybody's.
        annotations = _some(metadata.get("annotations"), lambda name: name.startswith(f"{GROUP}/"))
        return {**raw, "kind": kind, "metadata": {**_without(metadata, {"managedFields"}), "annotations": annotations}}
    _, owner = owner_of(kind, raw)
    if kind == "Pod":
        return _pod(raw) if workload_of(raw, owner) is not None else None
    name = metadata["name"]
    if (kind, name) not in own_names(owner) and not (kind == "Job" and is_migrate_job(owner, name)):
        return None
    made = {**_without(metadata, {"managedFields"}), WRITERS_FIELD: writers(raw, MANAGED_BY)}
    if "annotations" in made:
        left_out = {LAST_APPLIED_ANNOTATION} | (PATRONIS_ANNOTATIONS if kind == "ConfigMap" else frozenset())
        made["annotations"] = _without(made["annotations"] or {}, left_out)
    return {**raw, "kind": kind, "metadata": made}


def stranger(raw: Manifest) -> Manifest:
    """What is kept of an object that is not the operator's to write: which it is, and whose."""
    metadata = raw["metadata"]
    managers = [{"manager": str(entry.get("manager"))} for entry in (metadata.get("managedFields") or [])[:1]]
    owner = controller(raw)
    return {
        "metadata": {
            **{name: metadata[name] for name in IDENTITY if name in metadata},
            **({"managedFields": managers} if managers else {}),
            **({"ownerReferences": [_reference(owner)]} if owner is not None else {}),
        }
    }


def _reference(owner: Mapping[str, Any]) -> Manifest:
    return {**_texts(owner, ("apiVersion", "kind", "name", "uid")), "controller": True}


def _pod(raw: Manifest) -> Manifest:
    """Its template is in the cache already, once for all pods."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    return {
        "kind": "Pod",
        "metadata": {
            **{name: metadata[name] for name in IDENTITY if name in metadata},
            "labels": _some(metadata.get("labels"), POD_LABELS.__contains__),
            "annotations": _some(metadata.get("annotations"), POD_ANNOTATIONS.__contains__),
            "ownerReferences": [_reference(controller(raw) or {})],
        },
        "spec": {"nodeName": (raw.get("spec") or {}).get("nodeName")},
        "status": {
            **_texts(status, POD_STATUS),
            "conditions": [
                _texts(one, ("type", "status", "reason", "message"))
                for one in (status.get("conditions") or [])[:CONDITIONS_MAX]
            ],
            "containerStatuses": [_container(one) for one in (status.get("containerStatuses") or [])[:CONTAINERS_MAX]],
            "initContainerStatuses": [
                _container(one)
                for one in (status.get("initContainerStatuses") or [])[:CONTAINERS_MAX]
                if one.get("name") in RESTORING
            ],
        },
    }


def _container(status: Mapping[str, Any]) -> Manifest:
    return {
        "name": str(status.get("name")),
        **{name: status[name] for name in ("ready", "started") if name in status},
        **{name: _state(status[name]) for name in ("state", "lastState") if status.get(name)},
    }


def _state(state: Mapping[str, Any]) -> Manifest:
    """`{"terminated": {"exitCode": 1, "reason": "Error"}}` without its times."""
    made: Manifest = {}
    for name in ("waiting", "running", "terminated"):
        if state.get(name) is not None:
            made[name] = _texts(state[name], ("reason", "message"))
            if "exitCode" in state[name]:
                made[name]["exitCode"] = state[name]["exitCode"]
    return made


def _texts(raw: Mapping[str, Any], names: Collection[str]) -> Manifest:
    return {name: str(raw[name])[:TEXT_MAX] for name in names if raw.get(name) is not None}


def _some(held: Mapping[str, Any] | None, is_kept: Any) -> Manifest:
    return {name: value for name, value in (held or {}).items() if is_kept(name)}


def _without(held: Mapping[str, Any], names: Collection[str]) -> Manifest:
    return {name: value for name, value in held.items() if name not in names}
