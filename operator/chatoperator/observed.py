"""The observed state of one ChatCluster, as frozen data from which decisions are made."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatoperator.metadata import (
    CERTIFICATE_HASH_ANNOTATION,
    COMPONENT_LABEL,
    CREDENTIALS_HASH_ANNOTATION,
    KIND,
    OUTLIVED_ANNOTATION,
    SAFE_TO_EVICT_ANNOTATION,
    SAFE_TO_EVICT_VOLUMES_ANNOTATION,
    SCHEMA_ANNOTATION,
    part_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest, ObjectKey, Part

DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True)
class Reading:
    """What one chatserver says of itself; `login` is the role that its DSN names, None where it does not say."""

    connections: int
    draining: bool
    login: str | None = None


@dataclass(frozen=True)
class AgentReport:
    """What the agent beside PostgreSQL says.

    Attributes:
        credentials: Revision of the passwords that PostgreSQL has; None before the first.
        configuration: Revision of the parameters that were checked last; None before the first.
        refused: PostgreSQL's words against them; None where they count.
    """

    credentials: str | None
    configuration: str | None
    refused: str | None


@dataclass(frozen=True)
class Answer:
    """What came of one real HTTPS request through the ingress Service.

    Attributes:
        ok: The chat works, writes included.
        message: For admins.
        volume_full: A server answered that its database's volume is full.
    """

    ok: bool
    message: str
    volume_full: bool = False


@dataclass(frozen=True)
class Pod:
    """The part of a pod that decisions need.

    Attributes:
        started: Its container has passed the startup probe, so that it has been ready once.
        lost: It should have gone, and its node does not say that it has: nothing is known of it.
        trouble: Why a container that is not ready waits or died; None where nothing is known to be wrong.
        deletion_cost: The annotation's text; None where it is absent.
        outlived: The part's own container has ended with 0, and an injected one runs on.
        owner_uid: Of what controls the pod; None where nothing does.
        has_eviction_rule: An annotation says whether the cluster autoscaler may evict it.
    """

    name: str
    component: str
    address: str | None
    host_address: str | None
    ready: bool
    started: bool
    terminating: bool
    lost: bool
    trouble: str | None
    deletion_cost: str | None
    credentials_digest: str | None
    certificate_digest: str | None
    outlived: bool = False
    owner_uid: str | None = None
    has_eviction_rule: bool = False


@dataclass(frozen=True)
class Observed:
    """One ChatCluster's children as the API server has them, the user's Secrets, and reports of the running parts.

    Attributes:
        children: By (kind, name).
        pods: Of every component.
        others: Objects that carry its labels or a name of its children and are somebody else's, by (kind, name).
        user_secrets: The Secrets that the spec names, by name; None for one that does not exist.
        agent: Report of PostgreSQL's agent; None where it gives none.
        readings: Of the chatservers by pod name, as they were read last; None for one that gave none.
        served: Kinds that not every cluster has and this one serves.
    """

    children: Mapping[ObjectKey, Manifest]
    pods: tuple[Pod, ...]
    others: Mapping[ObjectKey, Manifest] = field(default_factory=dict)
    user_secrets: Mapping[str, Manifest | None] = field(default_factory=dict)
    agent: AgentReport | None = None
    readings: Mapping[str, Reading | None] = field(default_factory=dict)
    served: frozenset[str] = frozenset()

    def child(self, kind: str, name: str) -> Manifest | None:
        """The child, or None where it does not exist."""
        return self.children.get((kind, name))

    def workload(self, cluster_name: str, part: Part) -> Manifest | None:
        """The Deployment or StatefulSet of a part."""
        return self.child("StatefulSet" if part == "postgres" else "Deployment", part_name(cluster_name, part))

    def component(self, part: Part) -> tuple[Pod, ...]:
        """The pods of a part, by name."""
        return tuple(pod for pod in self.pods if pod.component == part)

    def job_pods(self, job_name: str) -> tuple[Pod, ...]:
        """The pods of a migrate Job, which are named after it."""
        return tuple(pod for pod in self.component("migrate") if pod.name.startswith(f"{job_name}-"))


def pod(raw: Manifest, *, lost: bool = False) -> Pod:
    """Read a pod as the API server gives it; `lost` says whether its node is lost."""
    metadata, status = raw["metadata"], raw.get("status", {})
    annotations = metadata.get("annotations") or {}
    containers = status.get("containerStatuses") or []
    component = (metadata.get("labels") or {}).get(COMPONENT_LABEL, "")
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
        trouble=_lost(raw) if lost else _trouble(status, containers, once=component == "migrate"),
        outlived=status.get("phase") == "Running" and any(_succeeded(component, one) for one in containers),
        owner_uid=owners[0] if owners else None,
        has_eviction_rule=not annotations.keys().isdisjoint(
            {SAFE_TO_EVICT_ANNOTATION, SAFE_TO_EVICT_VOLUMES_ANNOTATION}
        ),
        deletion_cost=annotations.get(DELETION_COST_ANNOTATION),
        credentials_digest=annotations.get(CREDENTIALS_HASH_ANNOTATION),
        certificate_digest=annotations.get(CERTIFICATE_HASH_ANNOTATION),
    )


def _succeeded(name: str, container: Manifest) -> bool:
    ended = (container.get("state") or {}).get("terminated")
    return container["name"] == name and ended is not None and ended.get("exitCode") == 0


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

    A pod that died and is replaced, and a change of the number, are no rollout: the status of the workload tells
    them apart. Of a Deployment that is its condition Progressing, of a StatefulSet its two revisions.
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
