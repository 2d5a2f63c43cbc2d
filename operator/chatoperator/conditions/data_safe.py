"""DataSafe: whether the irreplaceable objects exist (the database's volume, the servers' key, the authority)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.parts.irreplaceable import NEW_CONTENT_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.metadata import Part
    from chatoperator.parts.irreplaceable import Loss, Subject

KEPT = Reason("Kept", ("True",), "All irreplaceable objects exist")
VOLUME_LEAVING = Reason(
    "VolumeLeaving",
    ("False",),
    "The claim that holds the database is being deleted and exists only as long as its pod runs. Do not delete the "
    "pod. The message has the next command ([database.md](database.md#a-lost-volume))",
    Level.WARNING,
)
VOLUME_LOST = Reason(
    "VolumeLost",
    ("False",),
    "The claim or its volume is gone. The operator does not create an empty database in its place. Restore the volume, "
    "or allow an empty one ([database.md](database.md#a-lost-volume))",
    Level.WARNING,
)
KEY_LOST = Reason(
    "KeyLost",
    ("False",),
    "Secret `NAME-chatserver` is gone or empty. Running chatservers keep running, but new ones cannot start. Restore "
    "the Secret, or allow a new key ([database.md](database.md#lost-secrets))",
    Level.WARNING,
)
AUTHORITY_LOST = Reason(
    "AuthorityLost",
    ("False",),
    "Secret `NAME-ingress-ca` is gone or empty. The certificate that it issued last is served until it expires. "
    "Restore the Secret, or allow a new authority ([database.md](database.md#lost-secrets))",
    Level.WARNING,
)
REPOSITORY_LOST = Reason(
    "RepositoryLost",
    ("False",),
    "The claim that holds all backups, or its volume, is gone. The database is not concerned. The operator does not "
    "create an empty repository in its place. Restore the volume, or allow an empty one",
    Level.WARNING,
)
PASSPHRASE_LOST = Reason(
    "PassphraseLost",
    ("False",),
    "Secret `NAME-backup-key` is gone or empty: no backup can be read. The database is not concerned. Restore the "
    "Secret, or choose another repository and allow a new passphrase",
    Level.WARNING,
)
LOSSES = (VOLUME_LEAVING, VOLUME_LOST, KEY_LOST, AUTHORITY_LOST, REPOSITORY_LOST, PASSPHRASE_LOST)
"""Progressing has them, too."""

TYPE = ConditionType(
    "DataSafe",
    bad="False",
    summary="The objects that the operator cannot recreate exist: the volume of the database, the key of the "
    "chatservers, the certificate authority, and of backups the volume of the repository and its passphrase.",
    reasons=(KEPT, *LOSSES),
)

REASONS: Mapping[Subject, Reason] = {
    "volume": VOLUME_LOST,
    "key": KEY_LOST,
    "authority": AUTHORITY_LOST,
    "repository": REPOSITORY_LOST,
    "passphrase": PASSPHRASE_LOST,
}

STATES = {
    "volume": "or its volume is gone",
    "key": "is gone or empty",
    "authority": "is gone or empty",
    "repository": "or its volume is gone",
    "passphrase": "is gone or empty",
}

EFFECTS = {
    "volume": "The database was on this volume, and the operator does not create an empty one in its place. Recreate "
    "the claim under the same name from a snapshot or on the old PersistentVolume "
    "(docs/operations/database.md#a-lost-volume)",
    "key": "It held the key that protects sign-in codes. Running chatservers keep running, but new ones cannot start. "
    "Restore the Secret from a backup",
    "authority": "It held the certificate authority that clients trust. The last certificate is served until it "
    "expires, and the operator cannot renew it. Restore the Secret from a backup",
    "repository": "All backups of the database were on this volume, and no backup is made until it is back. Recreate "
    "the claim under the same name from a snapshot or on the old PersistentVolume",
    "passphrase": "It held the passphrase of all backups, and no backup can be made or read until it is back. Restore "
    "the Secret from a copy",
}

NEW_CONTENT = {
    "volume": "an empty database (all messages are lost)",
    "key": "a new key",
    "authority": "a new authority",
    "repository": "an empty repository (all backups are lost)",
    "passphrase": "a new passphrase, which needs an empty repository (all backups are lost)",
}


_HELD: Mapping[Subject, tuple[str, Part]] = {
    "volume": ("the database", "postgres"),
    "repository": ("all backups", "backup"),
}


def condition(inputs: ConditionInputs) -> Condition:
    """DataSafe."""
    found = loss(inputs)
    return TYPE.condition(*found) if found is not None else TYPE.condition(KEPT, "All irreplaceable objects exist")


def loss(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    """What is lost, or about to be, with its message; None where nothing is."""
    if not inputs.losses:
        return None
    first = inputs.losses[0]
    reason = VOLUME_LEAVING if first.leaving and first.subject == "volume" else REASONS[first.subject]
    return reason, "; ".join(_message(inputs, one) for one in inputs.losses)


def _message(inputs: ConditionInputs, loss: Loss) -> str:
    if loss.leaving:
        return _leaving_message(inputs, loss)
    return (
        f"{loss.kind} {loss.name} {STATES[loss.subject]}. {EFFECTS[loss.subject]}. Only if that is impossible, allow "
        f"{NEW_CONTENT[loss.subject]}: kubectl annotate chatcluster {inputs.name} -n {inputs.namespace} "
        f"--overwrite {NEW_CONTENT_ANNOTATION}={loss.uid}"
    )


def _leaving_message(inputs: ConditionInputs, loss: Loss) -> str:
    holds, component = _HELD[loss.subject]
    pods = [pod.name for pod in inputs.observed.component(component)]
    until = f" It exists only as long as pod {pods[0]} does: do not delete that pod." if pods else ""
    keep = "Dump the database"
    if loss.subject == "repository":
        keep = "Copy the repository"
    if loss.volume is not None:
        patch = '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'
        keep = f"To keep the data, run: kubectl patch pv {loss.volume} -p '{patch}'. Then {keep[0].lower()}{keep[1:]}"
    return (
        f"{loss.kind} {loss.name}, which holds {holds}, is being deleted.{until} {keep}, or bind the "
        "volume to a new claim (docs/operations/database.md#a-lost-volume)"
    )
