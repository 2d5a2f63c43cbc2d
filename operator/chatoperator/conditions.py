"""The conditions of a ChatCluster: what is well, what is not, and what to do about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.facts import Condition
from chatoperator.manifests.metadata import claim_name, part_name, tls_secret_name
from chatoperator.observed import job_state, leaving, ready_replicas, refusal, rolling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.autoscaler import Bound
    from chatoperator.facts import Facts
    from chatoperator.manifests.metadata import Manifest, Part
    from chatoperator.spec import ChatCluster

ROLL_BACK = "What ran before goes on serving; correct the spec, or put back what it said"
"""Old servers and proxies go only when new ones are ready, and new servers come only after their migration."""


def conditions(facts: Facts) -> tuple[Condition, ...]:
    """All conditions, in the order in which people should read them."""
    parts = (_database(facts), _chatserver(facts), _ingress(facts))
    made = [_ready(facts, parts), *parts, _progressing(facts)]
    if facts.cluster is not None:
        made += [*_scaling(facts, facts.cluster), _paused(facts.cluster), _development(facts.cluster)]
        made += [_upgrade(facts), _hostnames(facts)]
    return tuple(made)


def _ready(facts: Facts, parts: Sequence[Condition]) -> Condition:
    if facts.answer.ok and facts.issuance is not None and not facts.issuance.accepted:
        # It answers, but not people's clients.
        message = f"{facts.answer.message}; {facts.issuance.message}"
        return Condition("Ready", "False", facts.issuance.reason, message)
    if facts.answer.ok and not (facts.certificate_ends and facts.certificate_ends.over):
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
    if facts.answer.volume_full:
        return Condition(kind, "False", "VolumeFull", _full_words(facts))
    if facts.external_secret_present is True:
        if facts.answer.ok:
            return Condition(kind, "True", "Reachable", "The chatservers reach the external database")
        return Condition(kind, "Unknown", "Unknown", "The external database is judged by the chatservers' answers")
    claim = facts.observed.child("PersistentVolumeClaim", claim_name(facts.name))
    if leaving(claim, facts.uid):
        message = f"PersistentVolumeClaim {claim_name(facts.name)} is being deleted; waiting until it is gone"
        return Condition(kind, "False", "VolumeLeaving", message)
    return _workload(facts, "postgres", kind)


def _full_words(facts: Facts) -> str:
    if facts.external_secret_present is True:
        return "The external database's volume is full: messages are refused, reading goes on. Make room there"
    return (
        "The database's volume is full: messages are refused, reading goes on. Raise spec.database.storage.size; where "
        "its storage class cannot grow volumes, move the data to a larger one (docs/operations/database.md)"
    )


def _chatserver(facts: Facts) -> Condition:
    if facts.cluster is not None and not facts.migrated and facts.observed.workload(facts.name, "chatserver") is None:
        message = "Waiting for the database's schema: " + _migration_words(facts)
        return Condition("ChatserverReady", "False", "WaitingForMigration", message)
    return _workload(facts, "chatserver", "ChatserverReady")


def _ingress(facts: Facts) -> Condition:
    made, trouble = _proxies(facts), facts.route_trouble
    if made.status == "True" and trouble is not None:
        return Condition("IngressReady", "False", trouble.reason, trouble.message)
    return made


def _proxies(facts: Facts) -> Condition:
    if facts.cluster is not None and facts.cluster.ingress.issuer is not None:
        return _by_cert_manager(facts)
    if not facts.tls_present:
        name = facts.cluster.ingress.tls_secret_name if facts.cluster is not None else tls_secret_name(facts.name)
        message = f"Secret {name} is missing or has no tls.crt and tls.key; create it"
        return Condition("IngressReady", "False", "CertificateMissing", message)
    made, ends = _workload(facts, "ingress", "IngressReady"), facts.certificate_ends
    if ends is None or facts.cluster is None or not (ends.over or ends.soon):
        return made
    secret = f"the certificate in Secret {facts.cluster.ingress.tls_secret_name}"
    if ends.over:
        message = f"Clients refuse {secret}: it ended at {ends.at}; put a new one there"
        return Condition("IngressReady", "False", "CertificateExpired", message)
    if made.status == "True":
        message = f"{made.message}; {secret} ends at {ends.at}; put a new one there"
        return Condition("IngressReady", "True", "CertificateExpiring", message)
    return made


def _by_cert_manager(facts: Facts) -> Condition:
    """What cert-manager does not do is bad only where clients notice."""
    made, issuance, ends = _workload(facts, "ingress", "IngressReady"), facts.issuance, facts.certificate_ends
    if issuance is not None and not issuance.accepted:
        return Condition("IngressReady", "False", issuance.reason, issuance.message)
    if made.status != "True":
        return made
    if issuance is not None:
        return Condition("IngressReady", "True", issuance.reason, f"{made.message}; {issuance.message}")
    if ends is not None and ends.soon:
        # It may have stopped before it could say what is wrong.
        words = f"cert-manager has not renewed the certificate, which ends at {ends.at}: see its logs"
        return Condition("IngressReady", "True", "CertificateExpiring", f"{made.message}; {words}")
    return made


def _workload(facts: Facts, part: Part, kind: str) -> Condition:
    """Ready where all wanted pods are."""
    workload = facts.observed.workload(facts.name, part)
    if workload is None:
        return Condition(kind, "False", "Missing", f"{part_name(facts.name, part)} does not exist yet")
    ready, wanted = ready_replicas(workload), int(workload["spec"].get("replicas", 1))
    if ready >= wanted:
        return Condition(kind, "True", "AllReady", f"{ready} of {wanted} {part} pods are ready")
    troubles = _troubles(facts, part)
    reason = "PartlyReady" if ready else "NotReady"
    message = "; ".join([f"{ready} of {wanted} {part} pods are ready", *troubles[:3]])
    return Condition(kind, "False", reason, message)


def _troubles(facts: Facts, part: Part) -> list[str]:
    """What keeps pods of a part from being ready, each in a sentence."""
    pods = [
        pod
        for pod in facts.observed.component(part)
        if pod.trouble and not pod.ready and (pod.lost or not pod.terminating)
    ]
    if part == "migrate":
        # Not those of another image's Job.
        pods = [pod for pod in pods if pod.name.startswith(facts.migrate_job_name or "")]
    refused = refusal(facts.observed.workload(facts.name, part)) if part != "migrate" else None
    return [*(f"{pod.name}: {pod.trouble}" for pod in pods), *([refused] if refused else [])]


def _progressing(facts: Facts) -> Condition:
    """What keeps the spec from being followed, or what is on its way."""
    return (
        _stopped(facts)
        or _moving(facts)
        or Condition("Progressing", "False", "Settled", "Everything is as the spec asks")
    )


def _stopped(facts: Facts) -> Condition | None:
    """The first of these that holds: somebody has to do something, or has said that nothing is to be done."""
    kind = "Progressing"
    job = facts.observed.child("Job", facts.migrate_job_name) if facts.migrate_job_name else None
    if facts.spec_error is not None:
        return Condition(kind, "False", "InvalidSpec", f"{facts.spec_error}. What runs is left as it is")
    made: Condition | None = None
    if facts.failure is not None:
        made = Condition(kind, "False", "ApplyFailed", facts.failure)
    elif facts.cluster is not None and facts.cluster.paused:
        made = Condition(kind, "False", "Paused", "spec.paused is true: nothing is changed")
    elif facts.webhook_secret_present is False and facts.cluster is not None:
        made = Condition(kind, "False", "WebhookSecretMissing", _webhook_words(facts.cluster))
    elif facts.parameters_refused is not None:
        made = Condition(kind, "False", "ParametersRefused", _parameters_words(facts.parameters_refused))
    elif facts.claim_refusal is not None:
        made = Condition(kind, "False", "VolumeNotExpandable", _growth_words(facts, facts.claim_refusal))
    elif not facts.migrated and job_state(job) == "Failed":
        made = Condition(kind, "False", "MigrationFailed", _migration_words(facts))
    return made


def _moving(facts: Facts) -> Condition | None:
    """The first of these that holds: it goes on by itself."""
    kind = "Progressing"
    if facts.migrated:
        return _rollout(facts) or _database_change(facts)
    if _troubles(facts, "migrate"):
        return Condition(kind, "True", "MigrationFailing", _migration_words(facts))
    return Condition(kind, "True", "Migrating", _migration_words(facts))


def _database_change(facts: Facts) -> Condition | None:
    """What changes of the database while its pod stays."""
    growing = _growing(facts.observed.child("PersistentVolumeClaim", claim_name(facts.name)))
    kind = "Progressing"
    if not facts.parameters_checked:
        return Condition(kind, "True", "ApplyingParameters", "PostgreSQL is asked whether it takes the parameters")
    if growing is not None:
        return Condition(kind, "True", "VolumeResizing", growing)
    if facts.rotating:
        return Condition(kind, "True", "RotatingCredentials", "The database's passwords are being rotated")
    return None


def _parameters_words(refused: str) -> str:
    return (
        f"PostgreSQL refuses spec.database.parameters: {refused}. It runs on with the last good ones; "
        "correct or remove what it names"
    )


def _growth_words(facts: Facts, refusal: str) -> str:
    size = facts.cluster.database.storage_size if facts.cluster else ""
    return (
        f"The volume cannot grow to spec.database.storage.size ({size}): {refusal}. All else runs on. Set "
        "allowVolumeExpansion: true in its storage class where the driver can do it, and it is tried again within "
        "ten minutes; otherwise put back status.volumeSize, or move the data to a larger volume "
        "(docs/operations/database.md)"
    )


def _growing(claim: Manifest | None) -> str | None:
    """What a volume that grows waits for; None where none does."""
    if claim is None:
        return None
    status = claim.get("status") or {}
    wanted = claim["spec"]["resources"]["requests"]["storage"]
    holding = {condition["type"] for condition in status.get("conditions") or [] if condition["status"] == "True"}
    if "FileSystemResizePending" in holding:
        return f"The volume has grown to {wanted}; its file system follows when the database's pod is next on its node"
    if "Resizing" in holding:
        return f"The volume grows to {wanted}"
    return None


def _rollout(facts: Facts) -> Condition | None:
    """What of the parts is made for the first time, or anew."""
    parts: tuple[Part, ...] = ("postgres", "chatserver", "ingress")
    rolls = [part for part in parts if rolling(facts.observed.workload(facts.name, part))]
    missing = [part_name(facts.name, part) for part in parts if _wanted(facts, part) and not _there(facts, part)]
    stuck = [words for part in rolls for words in _troubles(facts, part)]
    if missing:
        return Condition("Progressing", "True", "Starting", f"Making {', '.join(missing)}")
    if stuck:
        return Condition("Progressing", "True", "RolloutFailing", _stuck_words(rolls, stuck))
    if rolls:
        return Condition("Progressing", "True", "Rolling", f"Bringing {', '.join(rolls)} to what the spec asks")
    return None


def _wanted(facts: Facts, part: Part) -> bool:
    return part != "postgres" or facts.external_secret_present is None


def _there(facts: Facts, part: Part) -> bool:
    return facts.observed.workload(facts.name, part) is not None


def _stuck_words(moving: Sequence[Part], troubles: Sequence[str]) -> str:
    # There is one PostgreSQL: its old pod goes first.
    remedy = "Correct the spec, or put back what it said" if "postgres" in moving else ROLL_BACK
    return "; ".join([f"New pods of {', '.join(moving)} do not become ready", *troubles[:3], remedy])


def _webhook_words(cluster: ChatCluster) -> str:
    name = cluster.auth.webhook.secret_name if cluster.auth.webhook else ""
    return (
        f"Secret {name} of auth.otp.webhook.secretName is missing or has no key secret of at least 16 bytes; "
        "create it. Chatservers that run keep running, new ones wait for it"
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
    troubles = _troubles(facts, "migrate")
    if troubles:
        look = f"see its logs (kubectl logs job/{facts.migrate_job_name}). {ROLL_BACK}"
        return "; ".join([f"Job {facts.migrate_job_name} does not succeed and is tried again", troubles[0], look])
    return f"Job {facts.migrate_job_name} runs"


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


def _hostnames(facts: Facts) -> Condition:
    if facts.conflict is None:
        return Condition("HostnameConflict", "False", "Unique", "No older ChatCluster has one of its hostnames")
    message = f"{facts.conflict}. Both serve; which one people reach is up to DNS. Remove it from one of them"
    return Condition("HostnameConflict", "True", "HostnameTaken", message)
