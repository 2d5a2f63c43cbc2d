"""DatabaseRestored: what became of a restore. Only with database.restore, or after a restore in place was requested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.desired import restoration as phases

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.desired.restoration import Restoration

RESTORED = Reason(
    "Restored", ("True",), "The restore is complete; `status.database.restore` has its time and what it has kept"
)
RESTORING = Reason(
    "Restoring",
    ("False",),
    "A restore is in progress; the message has its phase. During a restore in place users get 503 and their clients "
    "try again",
    Level.CHOSEN,
)
SECRET_MISSING = Reason(
    "SecretMissing",
    ("False",),
    "Create the Secret and the key that the message names: the credentials of the repository or its passphrase",
)
SOURCE_MISSING = Reason(
    "SourceMissing",
    ("False",),
    "The ChatCluster of `database.restore.from.chatCluster` does not exist in this namespace. Recreate this "
    "ChatCluster, and name the repository instead",
    Level.WARNING,
)
NO_BACKUPS = Reason(
    "NoBackups",
    ("False",),
    "The source has no `database.backup`, or its repository has no backup: there is nothing to restore. The message "
    "says which",
    Level.WARNING,
)
OUTSIDE_WINDOW = Reason(
    "OutsideWindow",
    ("False",),
    "The repository cannot restore to the requested time; the message names the times that it can restore to",
    Level.WARNING,
)
WAL_MISSING = Reason(
    "WalMissing",
    ("False",),
    "WAL between the backup and the requested time is missing or damaged. Choose a time before it, or after the next "
    "backup; the message names the file",
    Level.WARNING,
)
WRONG_KEY = Reason(
    "WrongKey",
    ("False",),
    "The repository cannot be read with the passphrase. Store the one with which it was made in the Secret",
    Level.WARNING,
)
REPOSITORY_UNAVAILABLE = Reason(
    "RepositoryUnavailable",
    ("False",),
    "The repository does not answer, or refuses the credentials or the certificate; the message says which. The "
    "restore is tried again automatically",
)
NO_ROOM = Reason(
    "NoRoom",
    ("False",),
    "The volume has no room for the restored data beside the present data. Raise `database.storage.size`, delete what "
    "earlier restores have kept, or restore into a new ChatCluster",
    Level.WARNING,
)
VOLUME_EMPTY = Reason(
    "VolumeEmpty",
    ("False",),
    "This chat had a database, and its volume is empty: the old state of another chat does not replace it. Restore the "
    "volume, or make a new ChatCluster from this chat's own backups",
    Level.WARNING,
)
NOTHING_KEPT = Reason(
    "NothingKept",
    ("False",),
    "The data of before the restore is not on the volume any more, so that the restore cannot be undone",
    Level.WARNING,
)
RESTORE_FAILED = Reason(
    "RestoreFailed",
    ("False",),
    "The restore fails; the message says why, and it is tried again. The data of before a restore in place is "
    "unchanged until it succeeds: `kubectl chatcluster restore --undo` starts the chat with it",
    Level.WARNING,
)
REQUEST_REFUSED = Reason(
    "RequestRefused",
    ("False",),
    "A restore in place was requested that cannot be made. Nothing was changed; the message says why, and what to do. "
    "Request another one, or remove the annotation `chatcluster.io/restore`",
    Level.WARNING,
)

TYPE = ConditionType(
    "DatabaseRestored",
    bad="False",
    summary="The database has the state that a restore was to give it.\n"
    "A ChatCluster has this condition only with `database.restore`, and after a restore in place was requested "
    "([backup.md](backup.md#restore-in-place)).",
    reasons=(
        RESTORED,
        RESTORING,
        SECRET_MISSING,
        SOURCE_MISSING,
        NO_BACKUPS,
        OUTSIDE_WINDOW,
        WAL_MISSING,
        WRONG_KEY,
        REPOSITORY_UNAVAILABLE,
        NO_ROOM,
        VOLUME_EMPTY,
        NOTHING_KEPT,
        RESTORE_FAILED,
        REQUEST_REFUSED,
    ),
)

REASONS = {
    "secret_missing": SECRET_MISSING,
    "source_missing": SOURCE_MISSING,
    "no_backups": NO_BACKUPS,
    "no_backup": NO_BACKUPS,
    "outside_window": OUTSIDE_WINDOW,
    "wal_missing": WAL_MISSING,
    "wrong_key": WRONG_KEY,
    **dict.fromkeys(("unreachable", "access_denied", "tls", "busy"), REPOSITORY_UNAVAILABLE),
    "no_room": NO_ROOM,
    "volume_empty": VOLUME_EMPTY,
    "nothing_kept": NOTHING_KEPT,
}
"""By the words of the container that restores (postgresbackup.plan and postgresbackup.problems)."""

STEPS = {
    phases.STOPPING: "the chatservers stop",
    phases.RESTORING: "the data is copied from the repository and WAL is replayed",
    phases.STARTING: "the data is restored, and the schema is migrated before chatservers start",
}


RECREATE = (
    "database.restore cannot be changed: delete this ChatCluster and its empty claim, and create it with another "
    "database.restore.targetTime"
)
REMEDIES = {
    OUTSIDE_WINDOW: RECREATE,
    WAL_MISSING: RECREATE,
    WRONG_KEY: (
        "Store the passphrase with which the repository was made in the Secret of "
        "database.restore.from.repository.encryption.secretName; with from.chatCluster, in that chat's Secret"
    ),
    REPOSITORY_UNAVAILABLE: (
        "Check the endpoint and the Secret of database.restore.from.repository; with from.chatCluster, that the backup "
        "pod of that chat is ready and that it is the same chat as before"
    ),
}
"""What to do about the first content of a chat, beside what the message itself says."""


def condition(restoration: Restoration) -> Condition:
    """DatabaseRestored."""
    if restoration.refused is not None and not restoration.under_way:
        return TYPE.condition(REQUEST_REFUSED, f"The restore was refused: {restoration.refused.message}")
    if restoration.phase == phases.FAILED:
        return TYPE.condition(REASONS.get(restoration.reason, RESTORE_FAILED), _failed(restoration))
    if restoration.phase == phases.COMPLETED:
        return TYPE.condition(RESTORED, _completed(restoration))
    return TYPE.condition(RESTORING, f"{_named(restoration)}: {STEPS[restoration.phase]}")


def _named(restoration: Restoration) -> str:
    if not restoration.in_place:
        return f"The database begins with another one's data (to {restoration.target_time})"
    if restoration.undoes:
        return f"Restore {restoration.undoes} is undone"
    return f"The database returns to {restoration.target_time}"


def _failed(restoration: Restoration) -> str:
    message = f"The restore failed: {restoration.message}"
    if not restoration.in_place:
        remedy = REMEDIES.get(REASONS.get(restoration.reason, RESTORE_FAILED), "It is tried again automatically")
        return f"{message}. {remedy}"
    return (
        f"{message}. The data of before is unchanged. Restore to another time, or start the chat as it was: kubectl "
        "chatcluster restore --undo (docs/operations/backup.md#restore-in-place)"
    )


def _completed(restoration: Restoration) -> str:
    parts = [f"{_named(restoration)}; this ended at {restoration.ended_at or 'an unknown time'}"]
    if restoration.restored_to:
        parts.append(f"the last transaction in it is of {restoration.restored_to}")
    if restoration.kept_data:
        parts.append(f"the data of before is in {restoration.kept_data} on the volume")
    return "; ".join(parts)
