"""Changes of the database while its pod keeps running, and of the bus: part of Progressing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import Level, Reason
from chatoperator.metadata import claim_name, part_name

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import ConditionInputs

APPLYING_PARAMETERS = Reason("ApplyingParameters", ("True",), "PostgreSQL is validating changed parameters")
VOLUME_RESIZING = Reason(
    "VolumeResizing", ("True",), "The volume is being expanded, or its file system is not expanded yet"
)
ROTATING_CREDENTIALS = Reason(
    "RotatingCredentials", ("True",), "The passwords of the database are being rotated; no action needed"
)
CHANGING_BUS = Reason(
    "ChangingBus",
    ("True",),
    "Another bus is required: chatservers change to it once it is ready, and the old one is removed once no chatserver "
    "uses it ([bus.md](bus.md#change-the-bus))",
)
PARAMETERS_REFUSED = Reason(
    "ParametersRefused",
    ("False",),
    "PostgreSQL rejects `database.parameters`; the message quotes its error. PostgreSQL keeps running with the last "
    "valid parameters. Correct the parameters that the message names",
    Level.WARNING,
)
STORAGE_CLASS_KEPT = Reason(
    "StorageClassKept",
    ("False",),
    "`database.storage.storageClassName` differs from the class of the claim, and a bound claim cannot change its "
    "class. Restore the old value, or move the data to a new volume. A claim without a volume is recreated instead, "
    "with an Event `ClaimReplaced`",
    Level.WARNING,
)
VOLUME_NOT_EXPANDABLE = Reason(
    "VolumeNotExpandable",
    ("False",),
    "The storage class cannot expand the volume; the message says what to do "
    "([database.md](database.md#growing-the-volume)). Everything else keeps running",
    Level.WARNING,
)
UNDER_WAY = (APPLYING_PARAMETERS, VOLUME_RESIZING, ROTATING_CREDENTIALS, CHANGING_BUS)
REJECTED = (PARAMETERS_REFUSED, STORAGE_CLASS_KEPT, VOLUME_NOT_EXPANDABLE)


def under_way(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """The first such change that is in progress, with its message; None where none is."""
    growing = _growing(inputs)
    if not inputs.database.parameters_checked:
        return APPLYING_PARAMETERS, "Waiting for PostgreSQL to validate spec.database.parameters"
    if growing is not None:
        return VOLUME_RESIZING, growing
    if inputs.desired is not None and inputs.desired.rotating:
        return ROTATING_CREDENTIALS, "The operator is rotating the passwords of the database; no action needed"
    return _changing_bus(inputs)


def rejected(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """The first such change that PostgreSQL or the API server rejects, with its message; None where none is."""
    if inputs.database.parameters_refused is not None:
        return PARAMETERS_REFUSED, _parameters_message(inputs.database.parameters_refused)
    refusal = inputs.claim_refusal
    if refusal is not None and refusal.storage_class is not None:
        return STORAGE_CLASS_KEPT, _class_message(inputs, refusal.storage_class)
    if refusal is not None:
        return VOLUME_NOT_EXPANDABLE, _growth_message(inputs, refusal.message)
    return None


def _parameters_message(error: str) -> str:
    return (
        f"PostgreSQL rejects spec.database.parameters: {error}. PostgreSQL keeps running with the last valid "
        "parameters. Correct or remove the parameter that the error names"
    )


def _growth_message(inputs: ConditionInputs, error: str) -> str:
    size = inputs.cluster.database.storage.size if inputs.cluster else ""
    return (
        f"The volume cannot grow to spec.database.storage.size ({size}): {error}. Everything else keeps running. If "
        "the storage driver can expand volumes, set allowVolumeExpansion: true in the StorageClass; the operator "
        "retries within ten minutes. Otherwise set spec.database.storage.size to the value of status.volumeSize, or "
        "move the data to a larger volume (docs/operations/database.md)"
    )


def _class_message(inputs: ConditionInputs, kept: str) -> str:
    desired = inputs.cluster.database.storage.storage_class_name if inputs.cluster else None
    return (
        f"PersistentVolumeClaim {claim_name(inputs.name)} has storage class {kept}. Kubernetes cannot change the class "
        f"of an existing claim, so spec.database.storage.storageClassName ({desired}) has no effect. Everything else "
        f"keeps running. Set it to {kept}, or move the data to a volume of the other class "
        "(docs/operations/database.md)"
    )


def _growing(inputs: ConditionInputs) -> str | None:
    """What a volume that grows waits for; None where none does."""
    claim = inputs.observed.child("PersistentVolumeClaim", claim_name(inputs.name))
    if claim is None:
        return None
    status = claim.get("status") or {}
    desired = claim["spec"]["resources"]["requests"]["storage"]
    holding = {condition["type"] for condition in status.get("conditions") or [] if condition["status"] == "True"}
    if "FileSystemResizePending" in holding:
        pod = part_name(inputs.name, "postgres") + "-0"
        return (
            f"The volume has grown to {desired}; kubelet has not expanded its file system yet. With some storage "
            f"drivers it does so only when the pod of the database restarts: if this message stays, delete pod {pod}; "
            "the database is then unavailable for some seconds"
        )
    if "Resizing" in holding:
        return f"The storage driver is expanding the volume to {desired}"
    return None


def _changing_bus(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """What a change of the bus waits for; None where chatservers use that of the spec already."""
    desired = inputs.desired
    if desired is None or not desired.bus.moving:
        return None
    name = desired.cluster.bus.type
    if desired.bus.pods is not None and not desired.bus.servers.is_own(inputs.name):
        return CHANGING_BUS, f"Waiting for all Valkey pods to be ready; then chatservers change to bus {name}"
    if desired.bus.leaving:
        return CHANGING_BUS, f"Chatservers change to bus {name}; Valkey is removed when none of them uses it any more"
    return None
