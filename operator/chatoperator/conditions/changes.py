"""What changes of the database while its pod stays: parameters, the volume's size, passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition
from chatoperator.metadata import claim_name

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts
    from chatoperator.metadata import Manifest


def condition(facts: Facts) -> Condition | None:
    """The first such change that is under way; None where none is."""
    growing = _growing(facts.observed.child("PersistentVolumeClaim", claim_name(facts.name)))
    kind = "Progressing"
    if not facts.parameters_checked:
        return Condition(kind, "True", "ApplyingParameters", "PostgreSQL is asked whether it takes the parameters")
    if growing is not None:
        return Condition(kind, "True", "VolumeResizing", growing)
    if facts.rotating:
        return Condition(kind, "True", "RotatingCredentials", "The database's passwords are being rotated")
    return None


def parameters_words(refused: str) -> str:
    """PostgreSQL's words against the parameters, and what to do."""
    return (
        f"PostgreSQL refuses spec.database.parameters: {refused}. It runs on with the last good ones; "
        "correct or remove what it names"
    )


def growth_words(facts: Facts, refusal: str) -> str:
    """The API server's words against a larger volume, and what to do."""
    size = facts.cluster.database.storage_size if facts.cluster else ""
    return (
        f"The volume cannot grow to spec.database.storage.size ({size}): {refusal}. All else runs on. Set "
        "allowVolumeExpansion: true in its storage class where the driver can do it, and it is tried again within "
        "ten minutes; otherwise put back status.volumeSize, or move the data to a larger volume "
        "(docs/operations/database.md)"
    )


def class_words(facts: Facts, kept: str) -> str:
    """Why the claim has another storage class than the spec asks for, and what to do."""
    wanted = facts.cluster.database.storage_class_name if facts.cluster else None
    return (
        f"PersistentVolumeClaim {claim_name(facts.name)} has storage class {kept}, and a claim keeps its class: "
        f"spec.database.storage.storageClassName ({wanted}) is not followed. All else runs on. Put {kept} back, or "
        "move the data to a volume of the other class (docs/operations/database.md)"
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
