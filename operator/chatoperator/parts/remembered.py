"""Which irreplaceable objects a ChatCluster has had, as its status remembers them, and which of them are lost. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.kube.decoding import UNREADABLE
from chatoperator.kube.objects import annotation, leaving, secret_text
from chatoperator.metadata import (
    INSTANCES_MAX,
    backup_claim_name,
    backup_key_name,
    ca_secret_name,
    chatserver_secret_name,
    claim_name,
    database_secret_name,
)
from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.irreplaceable import NEW_CONTENT_ANNOTATION, Loss, Subject

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.observed import Observed

STATUS_FIELD = "irreplaceable"

VOLUMES: frozenset[Subject] = frozenset({"volume", "repository"})

PASSPHRASE_KEY = "passphrase"  # noqa: S105 - the name of a key

UNKNOWN_UID = "unknown"
"""Of a claim that only a release without this field has seen."""


def subjects(name: str) -> Mapping[ObjectKey, Subject]:
    """What each object holds by which status knows a ChatCluster's own again, by (kind, name)."""
    return {
        **{("PersistentVolumeClaim", claim_name(name, number)): "volume" for number in range(1, INSTANCES_MAX + 1)},
        ("Secret", chatserver_secret_name(name)): "key",
        ("Secret", ca_secret_name(name)): "authority",
        ("Secret", database_secret_name(name)): "credentials",
        ("PersistentVolumeClaim", backup_claim_name(name)): "repository",
        ("Secret", backup_key_name(name)): "passphrase",
    }


def recorded(body: Manifest) -> dict[ObjectKey, str]:
    """What a ChatCluster has had, as its status remembers it: uids by (kind, name)."""
    status: dict[str, Any] = body.get("status") or {}
    held = status.get(STATUS_FIELD)
    if held is None and status.get("volumeSize"):
        return {("PersistentVolumeClaim", claim_name(body["metadata"]["name"])): UNKNOWN_UID}
    return {(one["kind"], one["name"]): str(one["uid"]) for one in held or []}


def record(body: Manifest, observed: Observed, needed: Collection[ObjectKey]) -> list[Manifest]:
    """What status is to remember.

    Args:
        body: The ChatCluster.
        observed: What there is, as the API server itself has confirmed.
        needed: What the spec needs, by (kind, name); what it does not need may go and is forgotten.
    """
    before, made = recorded(body), dict[tuple[str, str], str]()
    for key, subject in subjects(body["metadata"]["name"]).items():
        live = observed.child(*key)
        if live is not None and _has_content(subject, live):
            made[key] = str(live["metadata"]["uid"])
        elif key in before and subject != "credentials" and (live is not None or key in needed):
            made[key] = before[key]
    return [{"kind": kind, "name": name, "uid": uid} for (kind, name), uid in sorted(made.items())]


def losses(body: Manifest, observed: Observed) -> tuple[Loss, ...]:
    """What a ChatCluster has had and has no more, or will soon have no more.

    Args:
        body: The ChatCluster.
        observed: What there is, as the API server itself has confirmed.
    """
    metadata, made = body["metadata"], list[Loss]()
    held = subjects(metadata["name"])
    for key, uid in recorded(body).items():
        live = observed.child(*key)
        if live is not None and UNREADABLE in live:
            # It is there, and that it cannot be read is reported elsewhere.
            continue
        # PostgreSQL's agent gives the database new passwords: those can be made twice.
        if key not in held or held[key] == "credentials":
            continue
        if live is None:
            made.append(Loss(held[key], *key, uid))
        elif held[key] in VOLUMES and leaving(live, metadata["uid"]):
            made.append(Loss(held[key], *key, uid, leaving=True, volume=live["spec"].get("volumeName")))
        elif held[key] in VOLUMES and (live.get("status") or {}).get("phase") == "Lost":
            # The claim is there, and what it claims is not.
            made.append(Loss(held[key], *key, uid))
        elif held[key] not in VOLUMES and not _has_content(held[key], live):
            made.append(Loss(held[key], *key, uid))
    return tuple(made)


def allowed(body: Manifest) -> frozenset[str]:
    """Uids of what may get new content."""
    words = (annotation(body, NEW_CONTENT_ANNOTATION) or "").split(",")
    return frozenset(word.strip() for word in words) - {""}


def _has_content(subject: Subject, live: Manifest) -> bool:
    if subject in VOLUMES:
        # Before it is bound there is no volume, and no database on it.
        return is_bound(live)
    if subject == "credentials":
        return True
    if subject == "key":
        return secret_text(live, "secret-key") is not None
    if subject == "passphrase":
        return secret_text(live, PASSPHRASE_KEY) is not None
    certificate, key = secret_text(live, "ca.crt"), secret_text(live, "ca.key")
    return certificate is not None and key is not None and self_signed.fits(Certificate(certificate, key))


def is_bound(claim: Manifest) -> bool:
    """Whether a claim has, or has had, a volume."""
    return bool(claim["spec"].get("volumeName")) or (claim.get("status") or {}).get("phase") in {"Bound", "Lost"}
