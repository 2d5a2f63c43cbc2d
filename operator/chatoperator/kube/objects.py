"""Readers of raw Kubernetes objects: pods, Jobs, rollouts, Secrets, annotations. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from chatoperator.metadata import (
    CERTIFICATE_HASH_ANNOTATION,
    COMPONENT_LABEL,
    CREDENTIALS_HASH_ANNOTATION,
    DELETION_COST_ANNOTATION,
    KIND,
    OUTLIVED_ANNOTATION,
    RESTORE_ANNOTATION,
    ROLE_LABEL,
    SAFE_TO_EVICT_ANNOTATION,
    SAFE_TO_EVICT_VOLUMES_ANNOTATION,
    SCHEMA_ANNOTATION,
)
from chatoperator.observed import Pod
from chatoperator.reports import RestoreOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest


def pod(raw: Manifest, *, lost: bool = False) -> Pod:
    """Read a pod as the API server gives it; `lost` says whether its node is lost."""
    metadata, status = raw["metadata"], raw.get("status", {})
    annotations = metadata.get("annotations") or {}
    containers = status.get("containerStatuses") or []
    component = (metadata.get("labels") or {}).get(COMPONENT_LABEL, "")
    restoring = status.get("initContainerStatuses") or []
    owners = [owner["uid"] for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    return Pod(
        name=metadata["name"],
        component=component,
        address=status.get("podIP"),
        host_address=status.get("hostIP"),
        ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or []),
        started=bool(containers) and all(container.get("started") for container in containers),
        terminating="deletionTimestamp" in metadata,
        lost=lost,
        trouble=_lost(raw) if lost else _trouble(status, [*restoring, *containers], once=component == "migrate"),
        outlived=any(_succeeded(component, one) for one in containers) and any(_runs(one) for one in containers),
        owner_uid=owners[0] if owners else None,
        has_eviction_rule=not annotations.keys().isdisjoint(
            {SAFE_TO_EVICT_ANNOTATION, SAFE_TO_EVICT_VOLUMES_ANNOTATION}
        ),
        deletion_cost=annotations.get(DELETION_COST_ANNOTATION),
        credentials_digest=annotations.get(CREDENTIALS_HASH_ANNOTATION),
        certificate_digest=annotations.get(CERTIFICATE_HASH_ANNOTATION),
        role=(metadata.get("labels") or {}).get(ROLE_LABEL),
        restores=annotations.get(RESTORE_ANNOTATION),
        outcomes=tuple(found for one in restoring if (found := restore_outcome(one)) is not None),
    )


def restore_outcome(container: Mapping[str, Any]) -> RestoreOutcome | None:
    """How a container that restores ended last; None while it has not, or where it had nothing to do."""
    ended = next(
        (
            state["terminated"]
            for name in ("state", "lastState")
            if "terminated" in (state := container.get(name) or {})
        ),
        None,
    )
    if ended is None:
        return None
    try:
        said = json.loads(str(ended.get("message") or "{}"))
        made, failed = said.get("restored") or {}, said.get("failed") or {}
        texts = {
            name: str(made[name] or "") for name in ("id", "ended", "restored_to", "backup", "kept") if name in made
        }
    except (ValueError, AttributeError, TypeError, RecursionError):
        made, failed, texts = {}, {}, {}
    if ended.get("exitCode"):
        # Without a message it was killed.
        text = str(failed.get("text") or f"the container ended with {ended['exitCode']}{_beside(ended)}")
        return RestoreOutcome(str(failed.get("id") or ""), str(failed.get("code") or "failed"), text)
    if not texts.get("ended"):
        return None
    return RestoreOutcome(
        texts.get("id", ""),
        ended=texts["ended"],
        restored_to=texts.get("restored_to") or None,
        backup=texts.get("backup", ""),
        kept=texts.get("kept", ""),
    )


RESTORING = frozenset({"restore", "restore-in-place"})
"""Containers that restore the database, whose termination message is JSON."""


def _succeeded(name: str, container: Manifest) -> bool:
    ended = (container.get("state") or {}).get("terminated")
    return ended is not None and ended.get("exitCode") == 0 and bool(container["name"] == name)


def _runs(container: Manifest) -> bool:
    """Not by the pod's phase: that changes some time after the last container has ended."""
    return "terminated" not in (container.get("state") or {})


def _lost(raw: Manifest) -> str:
    node, leaves_by = raw.get("spec", {}).get("nodeName"), raw["metadata"]["deletionTimestamp"]
    return f"NodeLost: node {node} did not remove the pod by {leaves_by}. Repair the node, or delete the Node object"


def _trouble(status: Mapping[str, Any], containers: list[Manifest], *, once: bool) -> str | None:
    """In Kubernetes' words, but for a container that ended: those would change with every new try.

    One that is to run `once` has not recovered by running again: only its end shows it.
    """
    for container in containers:
        state = container.get("state") or {}
        ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
        if (once or not container.get("ready")) and ended.get("exitCode"):
            found = restore_outcome(container) if container["name"] in RESTORING else None
            if found is not None:
                return f"container {container['name']}: {found.text}"
            return f"container {container['name']} exited with code {ended['exitCode']}{_beside(ended)}"
        waiting = state.get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"container {container['name']}: {_sentence(waiting)}"
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _sentence(condition)
    return None


def _beside(ended: Mapping[str, Any]) -> str:
    """What is known of an end beside its code: `(OOMKilled)`; `Error` says nothing."""
    words = [word for word in (ended.get("reason"), ended.get("message")) if word and word != "Error"]
    return f" ({': '.join(words)})" if words else ""


def _sentence(raw: Mapping[str, Any]) -> str:
    return ": ".join(part for part in (raw.get("reason"), raw.get("message")) if part)


def annotation(raw: Manifest | None, name: str) -> str | None:
    """An annotation of a child that may not exist."""
    return ((raw or {}).get("metadata", {}).get("annotations") or {}).get(name)


def schema_of(deployment: Manifest | None) -> str | None:
    """The migrate Job after which the live chatserver template was applied."""
    return annotation(deployment, SCHEMA_ANNOTATION)


def leaving(raw: Manifest | None, owner_uid: str) -> bool:
    """Whether a child is being deleted, or will be because it belongs to a ChatCluster that is gone."""
    return raw is not None and ("deletionTimestamp" in raw["metadata"] or condemned(raw, owner_uid))


def condemned(raw: Manifest | None, owner_uid: str) -> bool:
    """Whether a child belongs to a ChatCluster that is gone, and will be deleted with it."""
    owners = ((raw or {}).get("metadata") or {}).get("ownerReferences") or []
    return any(owner["kind"] == KIND and owner["uid"] != owner_uid for owner in owners)


def mounted_secrets(workload: Manifest) -> set[str]:
    """Names of the Secrets that the pods of a Deployment or StatefulSet mount."""
    volumes = workload["spec"]["template"]["spec"].get("volumes") or []
    names = {(volume.get("secret") or {}).get("secretName") for volume in volumes}
    return {str(name) for name in names if name}


def secret_text(secret: Manifest | None, key: str) -> str | None:
    """A Secret's value; None where Secret or key is absent, empty or not text."""
    encoded = ((secret or {}).get("data") or {}).get(key)
    if not encoded:
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def job_state(job: Manifest | None) -> str | None:
    """`Complete`, `Failed`, or None while the Job runs or does not exist.

    A migrate Job is complete, too, where the operator has ended it because its own container had succeeded.
    """
    if annotation(job, OUTLIVED_ANNOTATION) is not None:
        return "Complete"
    for condition in ((job or {}).get("status") or {}).get("conditions") or []:
        if condition.get("status") == "True" and condition.get("type") in {"Complete", "Failed"}:
            return str(condition["type"])
    return None


def rolling(workload: Manifest | None) -> bool:
    """Whether a Deployment or StatefulSet is on its way to another template than it had, or to its first.

    A pod that died and is replaced, and a change of the number, are no rollout: the status of the workload
    distinguishes them, of a Deployment by its condition Progressing, of a StatefulSet by its two revisions.
    """
    if workload is None:
        return False
    status = workload.get("status") or {}
    under_way = [
        condition
        for condition in status.get("conditions") or []
        if condition.get("type") == "Progressing" and condition.get("reason") != "NewReplicaSetAvailable"
    ]
    return bool(
        status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0)
        or status.get("replicas", 0) > status.get("updatedReplicas", 0)
        or status.get("currentRevision") != status.get("updateRevision")
        or under_way
    )


def refusal(workload: Manifest | None) -> str | None:
    """Why a Deployment's pods cannot even be made (a quota, an admission), or have not come up in ten minutes."""
    for condition in ((workload or {}).get("status") or {}).get("conditions") or []:
        failed = condition.get("type") == "ReplicaFailure" and condition.get("status") == "True"
        if failed or condition.get("reason") == "ProgressDeadlineExceeded":
            return _sentence(condition)
    return None


def ready_replicas(workload: Manifest | None) -> int:
    """Ready pods of a Deployment or StatefulSet."""
    return int(((workload or {}).get("status") or {}).get("readyReplicas") or 0)
