"""What the ChatCluster's status says: conditions and figures, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chatoperator.events import GOOD_WHEN_FALSE, WARNINGS
from chatoperator.manifests.metadata import claim_name, part_name, tls_secret_name
from chatoperator.observed import job_state, leaving, ready_replicas, rolling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chatoperator.autoscaler import Bound, Decision
    from chatoperator.manifests.metadata import Manifest, Part
    from chatoperator.observed import Answer, Observed, Pod
    from chatoperator.spec import ChatCluster

Holds = Literal["True", "False", "Unknown"]

MESSAGE_LENGTH_MAX = 1024
"""Characters; an API server's refusal can be a page long."""


@dataclass(frozen=True)
class Condition:
    """One condition without its time."""

    type: str
    status: Holds
    reason: str
    message: str


@dataclass(frozen=True)
class Facts:
    """What the conditions are made from.

    Attributes:
        name: Of the ChatCluster.
        uid: Of the ChatCluster.
        cluster: The parsed spec; None where it is wrong.
        observed: The children.
        answer: What came of a request through the ingress.
        decision: The autoscaler's; None in modes External and Disabled, and where the spec is wrong.
        migrate_job_name: The Job that the wanted image waits for; None where there is none.
        migrated: Whether the wanted image's migrations have run.
        external_secret_present: Whether the external database's Secret holds a dsn; None where there is none.
        webhook_secret_present: Whether the webhook's Secret holds its key; None where there is no webhook.
        tls_present: Whether HAProxy has a certificate.
        spec_error: What is wrong with the spec.
        failure: What the API server refused.
        upgrade: The release that the operator brings, where another one runs.
    """

    name: str
    uid: str
    cluster: ChatCluster | None
    observed: Observed
    answer: Answer
    decision: Decision | None = None
    migrate_job_name: str | None = None
    migrated: bool = False
    external_secret_present: bool | None = None
    webhook_secret_present: bool | None = None
    tls_present: bool = True
    spec_error: str | None = None
    failure: str | None = None
    upgrade: str | None = None


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """All conditions, in the order in which people should read them."""
    parts = (_database(facts), _chatserver(facts), _ingress(facts))
    made = [_ready(facts, parts), *parts, _progressing(facts)]
    if facts.cluster is not None:
        made += [*_scaling(facts, facts.cluster), _paused(facts.cluster), _development(facts.cluster)]
        made.append(_upgrade(facts))
    return tuple(made)


def merge(
    previous: Sequence[Mapping[str, Any]], made: Sequence[Condition], *, generation: int, now: str
) -> list[Manifest]:
    """Conditions as status holds them; lastTransitionTime moves only where the status changes.

    Args:
        previous: What status holds now. Conditions that are not made anew stay as they are.
        made: The new ones.
        generation: metadata.generation that they speak about.
        now: RFC 3339.
    """
    before = {condition["type"]: condition for condition in previous}
    merged = []
    for condition in made:
        old = before.pop(condition.type, None)
        unchanged = old is not None and old["status"] == condition.status
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:MESSAGE_LENGTH_MAX],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and unchanged else now,
            }
        )
    return merged + [dict(condition) for condition in before.values()]


def transitions(previous: Sequence[Mapping[str, Any]], merged: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The conditions that deserve an Event: those whose status or reason is new."""
    before = {condition["type"]: (condition["status"], condition["reason"]) for condition in previous}
    return [
        condition
        for condition in merged
        if before.get(condition["type"], (None, None)) != (condition["status"], condition["reason"])
    ]


def deserves_event(condition: Mapping[str, Any], previous: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a condition that turned is worth an Event.

    Unknown is no news, and neither is a new ChatCluster's condition that says that something is not the case.
    """
    new = all(before["type"] != condition["type"] for before in previous)
    quiet = condition["type"] in GOOD_WHEN_FALSE and condition["reason"] not in WARNINGS
    return condition["status"] != "Unknown" and not (new and quiet and condition["status"] == "False")


def url(cluster: ChatCluster, service: Manifest | None, pods: Sequence[Pod]) -> str | None:
    """Where people reach the chat; None while that is not known.

    The host is the first of ingress.hostnames; without one it is what Kubernetes gave: a node's address for NodePort,
    the load balancer's for LoadBalancer, the Service's name inside the cluster for ClusterIP.
    """
    if service is None:
        return None
    kind = cluster.ingress.service.type
    host: str | None = cluster.ingress.hostnames[0] if cluster.ingress.hostnames else None
    port = https_port(service)
    if port is None:
        return None
    if host is None and kind == "NodePort":
        host = next((pod.host_address for pod in pods if pod.ready and pod.host_address), None)
    elif host is None and kind == "LoadBalancer":
        balancers = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
        host = next((balancer.get("hostname") or balancer.get("ip") for balancer in balancers), None)
    elif host is None:
        host = f"{service['metadata']['name']}.{cluster.namespace}.svc"
    if host is None:
        return None
    if ":" in host:
        host = f"[{host}]"
    return f"https://{host}/" if port == 443 else f"https://{host}:{port}/"  # noqa: PLR2004 - HTTPS's own port


def https_port(service: Manifest | None) -> int | None:
    """Port that clients use for HTTPS: 443, or the node port; None while Kubernetes has not given one out."""
    if service is None:
        return None
    spec = service["spec"]
    if spec.get("type") != "NodePort":
        return 443
    return next((port.get("nodePort") for port in spec.get("ports", []) if port.get("name") == "https"), None)


def _ready(facts: Facts, parts: Sequence[Condition]) -> Condition:
    if facts.answer.ok:
        return Condition("Ready", "True", "Answering", facts.answer.message)
    broken = [part for part in parts if part.status != "True"]
    reason = broken[0].reason if broken else "NotAnswering"
    details = [part.message for part in broken]
    return Condition("Ready", "False", reason, "; ".join([facts.answer.message, *details]))


def _database(facts: Facts) -> Condition:
    kind = "DatabaseReady"
    if facts.external_secret_present is False:
        message = "The Secret of database.external.secretName is missing or has no key dsn; create it"
        return Condition(kind, "False", "SecretMissing", message)
    if facts.external_secret_present is True:
        if facts.answer.ok:
            return Condition(kind, "True", "Reachable", "The chatservers reach the external database")
        return Condition(kind, "Unknown", "Unknown", "The external database is judged by the chatservers' answers")
    claim = facts.observed.child("PersistentVolumeClaim", claim_name(facts.name))
    if leaving(claim, facts.uid):
        message = f"PersistentVolumeClaim {claim_name(facts.name)} is being deleted; waiting until it is gone"
        return Condition(kind, "False", "VolumeLeaving", message)
    return _workload(facts, "postgres", kind)


def _chatserver(facts: Facts) -> Condition:
    if facts.cluster is not None and not facts.migrated and facts.observed.workload(facts.name, "chatserver") is None:
        message = "Waiting for the database's schema: " + _migration_words(facts)
        return Condition("ChatserverReady", "False", "WaitingForMigration", message)
    return _workload(facts, "chatserver", "ChatserverReady")


def _ingress(facts: Facts) -> Condition:
    if not facts.tls_present:
        name = facts.cluster.ingress.tls_secret_name if facts.cluster is not None else tls_secret_name(facts.name)
        message = f"Secret {name} is missing or has no tls.crt and tls.key; create it"
        return Condition("IngressReady", "False", "CertificateMissing", message)
    return _workload(facts, "ingress", "IngressReady")


def _workload(facts: Facts, part: Part, kind: str) -> Condition:
    """Ready where all wanted pods are."""
    workload = facts.observed.workload(facts.name, part)
    if workload is None:
        return Condition(kind, "False", "Missing", f"{part_name(facts.name, part)} does not exist yet")
    ready, wanted = ready_replicas(workload), int(workload["spec"].get("replicas", 1))
    if ready >= wanted:
        return Condition(kind, "True", "AllReady", f"{ready} of {wanted} {part} pods are ready")
    troubles = [f"{pod.name}: {pod.trouble}" for pod in facts.observed.component(part) if pod.trouble]
    reason = "PartlyReady" if ready else "NotReady"
    message = "; ".join([f"{ready} of {wanted} {part} pods are ready", *troubles[:3]])
    return Condition(kind, "False", reason, message)


def _progressing(facts: Facts) -> Condition:
    """The first of these that holds."""
    job = facts.observed.child("Job", facts.migrate_job_name) if facts.migrate_job_name else None
    parts: tuple[Part, ...] = ("postgres", "chatserver", "ingress")
    moving = [part for part in parts if rolling(facts.observed.workload(facts.name, part))]
    kind = "Progressing"
    if facts.spec_error is not None:
        made = Condition(kind, "False", "InvalidSpec", f"{facts.spec_error}. What runs is left as it is")
    elif facts.failure is not None:
        made = Condition(kind, "False", "ApplyFailed", facts.failure)
    elif facts.cluster is not None and facts.cluster.paused:
        made = Condition(kind, "False", "Paused", "spec.paused is true: nothing is changed")
    elif facts.webhook_secret_present is False and facts.cluster is not None:
        made = Condition(kind, "False", "WebhookSecretMissing", _webhook_words(facts.cluster))
    elif not facts.migrated and job_state(job) == "Failed":
        made = Condition(kind, "False", "MigrationFailed", _migration_words(facts))
    elif not facts.migrated:
        made = Condition(kind, "True", "Migrating", _migration_words(facts))
    elif moving:
        made = Condition(kind, "True", "Rolling", f"Changing {', '.join(moving)}")
    else:
        made = Condition(kind, "False", "Settled", "Everything is as the spec asks")
    return made


def _webhook_words(cluster: ChatCluster) -> str:
    name = cluster.auth.webhook.secret_name if cluster.auth.webhook else ""
    return (
        f"Secret {name} of auth.otp.webhook.secretName is missing or has no key secret; create it. "
        "Chatservers that run keep running, new ones wait for it"
    )


def _migration_words(facts: Facts) -> str:
    if facts.migrate_job_name is None:
        return "there is no database yet"
    job = facts.observed.child("Job", facts.migrate_job_name)
    if job_state(job) == "Failed":
        return (
            f"Job {facts.migrate_job_name} failed; see its pods' logs (kubectl logs job/{facts.migrate_job_name}). "
            "It is tried again by itself"
        )
    troubles = [pod.trouble for pod in facts.observed.component("migrate") if pod.trouble]
    return "; ".join([f"Job {facts.migrate_job_name} runs", *troubles[:1]])


def _scaling(facts: Facts, cluster: ChatCluster) -> tuple[Condition, Condition]:
    mode = cluster.chatserver.scaling.mode
    if mode != "Internal":
        message = f"chatserver.scaling.mode is {mode}: chatserver.scaling.replicas is the number"
        return (
            Condition("ScalingActive", "False", mode, message),
            Condition("ScalingLimited", "False", mode, message),
        )
    if cluster.paused:
        message = "spec.paused is true: the number of chatservers stays"
        return (
            Condition("ScalingActive", "False", "Paused", message),
            Condition("ScalingLimited", "Unknown", "Paused", message),
        )
    decision = facts.decision
    if decision is None:
        message = "No decision has been made yet"
        return (
            Condition("ScalingActive", "Unknown", "Starting", message),
            Condition("ScalingLimited", "Unknown", "Starting", message),
        )
    if not decision.active:
        return (
            Condition("ScalingActive", "False", decision.reason, decision.message),
            Condition("ScalingLimited", "Unknown", decision.reason, decision.message),
        )
    # Without figures, which change with every connection: status would be written all the time.
    active = Condition("ScalingActive", "True", decision.reason, "The number of chatservers follows their connections")
    return active, _limited(decision.bound, cluster)


def _limited(bound: Bound | None, cluster: ChatCluster) -> Condition:
    scaling = cluster.chatserver.scaling
    if bound == "maxReplicas":
        message = (
            f"Connections want more chatservers than maxReplicas ({scaling.max_replicas}): "
            "raise it, or servers will refuse people when they are full"
        )
        return Condition("ScalingLimited", "True", "TooFewServers", message)
    if bound == "minReplicas":
        message = f"Connections alone want fewer chatservers than minReplicas ({scaling.min_replicas})"
        return Condition("ScalingLimited", "True", "AtMinimum", message)
    return Condition("ScalingLimited", "False", "WithinBounds", "The wish is within minReplicas and maxReplicas")


def _paused(cluster: ChatCluster) -> Condition:
    if cluster.paused:
        return Condition("Paused", "True", "Paused", "spec.paused is true: nothing is changed, what runs keeps running")
    return Condition("Paused", "False", "NotPaused", "The operator keeps the chat as the spec asks")


def _development(cluster: ChatCluster) -> Condition:
    if cluster.auth.webhook is None:
        message = "auth.otp.sender is Log: anybody can sign in as anybody. Never let real people use this chat"
        return Condition("DevelopmentCodes", "True", "SenderLog", message)
    return Condition("DevelopmentCodes", "False", "SenderReal", "Codes go only to the phone they belong to")


def _upgrade(facts: Facts) -> Condition:
    if facts.upgrade is None:
        return Condition("UpgradeAvailable", "False", "UpToDate", "The operator's own release runs")
    message = f"Set spec.version to {facts.upgrade} to run the operator's release"
    return Condition("UpgradeAvailable", "True", "NewerOperator", message)
