"""DatabaseReady: whether the database is reachable and stores messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import workloads
from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.kube.objects import leaving
from chatoperator.metadata import claim_name

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.desired.replication import Replication

VOLUME_LEAVING = Reason(
    "VolumeLeaving",
    ("False",),
    "A PersistentVolumeClaim is being deleted. If it holds the database, `DataSafe` reports it, with the commands that "
    "keep the data. If it belongs to an earlier ChatCluster, the operator waits until it is gone",
    Level.WARNING,
)
VOLUME_FULL = Reason(
    "VolumeFull",
    ("False",),
    "The volume is full. Sends are rejected with 503; reads still work. Raise `database.storage.size`, or see "
    "[database.md](database.md#a-full-volume)",
)
SECRET_MISSING = Reason(
    "SecretMissing",
    ("False",),
    "Create the Secret and the key that the message names: the URL (`database.external.secretName`) or the "
    "certificate authority (`caSecretName`). Running pods keep running",
)
INVALID_DSN = Reason(
    "InvalidDsn",
    ("False",),
    "The URL of the external database cannot be used. The message names the Secret and its key, explains the error "
    "without showing the URL, and says what to write ([database.md](database.md#an-external-database)). Until you "
    "correct it, no migration runs and no chatserver is replaced",
)
CERTIFICATE_INVALID = Reason(
    "CertificateInvalid",
    ("False",),
    "`ca.crt` in the Secret of `database.external.caSecretName` contains no certificates. Store the PEM certificate of "
    "the authority that issued the certificate of the database",
)
EXTERNAL_TROUBLES = (SECRET_MISSING, INVALID_DSN, CERTIFICATE_INVALID)
"""Faults of the Secrets of an external database: Progressing has them, too."""
REACHABLE = Reason("Reachable", ("True",), "The chatservers reach the external database")
UNKNOWN = Reason(
    "Unknown",
    ("Unknown",),
    "No chatserver reports the state of the external database, and the operator does not connect to it itself. See "
    "`ChatserverReady`",
)
UNVERIFIED = Reason(
    "Unverified",
    ("Unknown",),
    "The migration of an external database does not succeed. Open connections may still work, but new connections may "
    "fail. Check the Secret of `database.external.secretName` and the message",
)

LEADER_READY = Reason(
    "LeaderReady",
    ("True",),
    "One instance takes writes, but others are not ready; see `DatabaseReplicated`",
    Level.STEP,
)

TYPE = ConditionType(
    "DatabaseReady",
    bad="False",
    summary="The database is reachable and stores messages.",
    reasons=(
        *workloads.REASONS,
        LEADER_READY,
        VOLUME_LEAVING,
        VOLUME_FULL,
        *EXTERNAL_TROUBLES,
        REACHABLE,
        UNKNOWN,
        UNVERIFIED,
    ),
)


def condition(inputs: ConditionInputs) -> Condition:
    """DatabaseReady."""
    if inputs.database.trouble is not None:
        return TYPE.condition(TYPE.reason(inputs.database.trouble.reason), inputs.database.trouble.message)
    if inputs.answer.volume_full:
        return TYPE.condition(VOLUME_FULL, _full_message(inputs))
    if inputs.external:
        return _external(inputs)
    replication = inputs.desired.replication if inputs.desired is not None else None
    if replication is not None:
        return _instances(inputs, replication)
    claim = inputs.observed.child("PersistentVolumeClaim", claim_name(inputs.name))
    if leaving(claim, inputs.uid):
        message = (
            f"PersistentVolumeClaim {claim_name(inputs.name)} is being deleted. If it holds the database of this "
            "ChatCluster, the message of DataSafe has the commands that keep the data. If it belongs to an earlier "
            "ChatCluster, the operator waits until it is gone and then creates its own"
        )
        return TYPE.condition(VOLUME_LEAVING, message)
    return workloads.part_condition(inputs, "postgres", TYPE)


def _instances(inputs: ConditionInputs, replication: Replication) -> Condition:
    """Of several instances one that leads is enough."""
    ready = sum(pod.ready and not pod.terminating for pod in inputs.observed.component("postgres"))
    message = f"{ready} of {len(replication.instances)} postgres pods are ready"
    if replication.leader is not None:
        whole = ready >= len(replication.instances)
        return TYPE.condition(workloads.ALL_READY if whole else LEADER_READY, f"{message}; {replication.leader} leads")
    why = workloads.troubles(inputs, "postgres")[: workloads.SHOWN]
    return TYPE.condition(workloads.NOT_READY, "; ".join([f"{message}, and none leads", *why]))


def _external(inputs: ConditionInputs) -> Condition:
    unverified = _unverified(inputs)
    if unverified is not None:
        return TYPE.condition(UNVERIFIED, unverified)
    if inputs.answer.ok:
        return TYPE.condition(REACHABLE, "The chatservers reach the external database")
    message = (
        "No chatserver has reported that the external database works, and the operator cannot check it itself. See "
        "ChatserverReady"
    )
    return TYPE.condition(UNKNOWN, message)


def _unverified(inputs: ConditionInputs) -> str | None:
    """Why it is unknown whether a new connection would succeed: that of the migration does not."""
    failed = [trouble for trouble in workloads.troubles(inputs, "migrate") if ": container " in trouble]
    named = inputs.cluster.database.external if inputs.cluster is not None else None
    if inputs.migration.done or not failed or named is None:
        return None
    return (
        f"The migration of the external database fails ({failed[0]}). Chatservers may still have open connections, "
        f"but new connections may fail. Check key {named.secret_key} of Secret {named.secret_name} "
        "(database.external.secretName)"
    )


def _full_message(inputs: ConditionInputs) -> str:
    full = "is full: chatservers reject new messages; reading still works"
    if inputs.external:
        return f"The volume of the external database {full}. Free space on it, or enlarge it"
    return (
        f"The volume of the database {full}. Raise spec.database.storage.size. If the storage class cannot expand "
        "volumes, move the data to a larger volume (docs/operations/database.md)"
    )
