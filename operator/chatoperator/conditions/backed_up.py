"""BackedUp: whether the database can be restored from its repository. Only of a ChatCluster with database.backup."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from chatoperator.api import cron
from chatoperator.conditions import workloads
from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.kube.objects import rolling

if TYPE_CHECKING:
    from chatoperator.api.backup import Backup
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.desired.backup import DesiredBackup
    from chatoperator.reports import BackupReport

BACKED_UP = Reason(
    "BackedUp", ("True",), "The last backup succeeded in time, and WAL is archived: the database can be restored"
)
NO_BACKUP_YET = Reason(
    "NoBackupYet",
    ("False",),
    "The first backup has not ended yet; it begins as soon as the database runs. If this lasts, read the logs of pod "
    "`NAME-backup-0`",
    Level.STEP,
)
ARCHIVE_FAILING = Reason(
    "ArchiveFailing",
    ("False",),
    "WAL cannot be archived; the message says why. PostgreSQL keeps it until the volume is full. See "
    "[ChatArchiveBehind](../runbooks/ChatArchiveBehind.md)",
    Level.WARNING,
)
ARCHIVE_BEHIND = Reason(
    "ArchiveBehind",
    ("False",),
    "WAL is archived more slowly than it is written, so that more is lost with the database than "
    "`archiveTimeoutSeconds` says. See [ChatArchiveBehind](../runbooks/ChatArchiveBehind.md)",
    Level.WARNING,
)
BACKUP_FAILED = Reason(
    "BackupFailed",
    ("False",),
    "The last backup failed; the message quotes pgBackRest. Older backups and all WAL are still there. See "
    "[ChatBackupFailing](../runbooks/ChatBackupFailing.md)",
    Level.WARNING,
)
BACKUP_OVERDUE = Reason(
    "BackupOverdue",
    ("False",),
    "A backup should have ended by the schedule and has not. See [ChatBackupOverdue](../runbooks/ChatBackupOverdue.md)",
    Level.WARNING,
)
REPOSITORY_UNAVAILABLE = Reason(
    "RepositoryUnavailable",
    ("False",),
    "The repository, its credentials or the backup pod cannot be reached. The message says why, and which Secret to "
    "correct",
)
KEY_MISSING = Reason(
    "KeyMissing",
    ("False",),
    "The passphrase of the repository is gone: no backup is made, and none can be read. Restore the Secret that the "
    "message names. The operator does not make another passphrase while backups exist that need the old one",
    Level.WARNING,
)
WRONG_KEY = Reason(
    "WrongKey",
    ("False",),
    "The repository was made with another passphrase. Restore the old one, or choose another repository",
    Level.WARNING,
)
VERIFY_FAILED = Reason(
    "VerifyFailed",
    ("False",),
    "The last verification found damaged or missing files in the repository; the message quotes pgBackRest. What "
    "depends on them cannot be restored; look for the cause in the storage, and make a full backup",
    Level.WARNING,
)
SUSPENDED = Reason(
    "Suspended",
    ("False",),
    "`database.backup.suspended` is true: WAL is discarded, and what is written now cannot be restored. After it is "
    "set to false a full backup begins",
    Level.CHOSEN,
)

TYPE = ConditionType(
    "BackedUp",
    bad="False",
    summary="The database can be restored from its repository.\n"
    "A ChatCluster has this condition only with `database.backup`.",
    reasons=(
        BACKED_UP,
        NO_BACKUP_YET,
        ARCHIVE_FAILING,
        ARCHIVE_BEHIND,
        BACKUP_FAILED,
        BACKUP_OVERDUE,
        REPOSITORY_UNAVAILABLE,
        KEY_MISSING,
        WRONG_KEY,
        VERIFY_FAILED,
        SUSPENDED,
    ),
)

FAILING_SECONDS = 120
"""Age of the oldest WAL that waits, from which on a failure is reported: a backup pod restarts within that time."""

BEHIND_SECONDS = 600
"""Age of the oldest WAL that waits, from which on archiving is behind whatever its reason is."""

OVERDUE_SECONDS = 2 * 3600
"""How long a backup may take beyond its time before it is overdue, while none is being made."""

WRONG_KEY_CODE = "wrong_key"


def condition(inputs: ConditionInputs, desired: DesiredBackup, spec: Backup) -> Condition:
    """BackedUp."""
    if spec.suspended:
        message = (
            "database.backup.suspended is true: WAL is discarded. What is written now cannot be restored, only what "
            "was written before"
        )
        return TYPE.condition(SUSPENDED, message)
    fault = _secrets(inputs, desired) or _archive(inputs)
    if fault is not None:
        return TYPE.condition(*fault)
    report = inputs.observed.backup
    if report is None:
        return _silent(inputs)
    return TYPE.condition(*(_repository(report) or _backups(inputs, spec, report)))


def _secrets(inputs: ConditionInputs, desired: DesiredBackup) -> tuple[Reason, str] | None:
    """What is lost or wrong of what the operator itself can see."""
    lost = {loss.subject: loss for loss in inputs.losses}
    passphrase, repository = lost.get("passphrase"), lost.get("repository")
    if passphrase is not None:
        message = (
            f"Secret {passphrase.name} is gone or empty. Without its passphrase no backup is made, and none can be "
            "read. Restore the Secret from a copy (DataSafe has the command for a new repository)"
        )
        return KEY_MISSING, message
    if desired.secrets.key_fault is not None:
        return KEY_MISSING, desired.secrets.key_fault
    if repository is not None:
        message = f"PersistentVolumeClaim {repository.name}, which holds all backups, is gone or being deleted"
        return REPOSITORY_UNAVAILABLE, f"{message}. DataSafe says what to do"
    return None if desired.secrets.fault is None else (REPOSITORY_UNAVAILABLE, desired.secrets.fault)


def _archive(inputs: ConditionInputs) -> tuple[Reason, str] | None:
    agent = inputs.observed.agent
    archive = agent.archive if agent is not None else None
    if archive is None:
        return None
    full = "PostgreSQL keeps it, and its volume fills"
    if archive.failing and archive.lag_seconds >= FAILING_SECONDS:
        said = f": {archive.error}" if archive.error else ""
        return ARCHIVE_FAILING, f"WAL cannot be archived{said}. {full}"
    if archive.lag_seconds >= BEHIND_SECONDS:
        minutes = BEHIND_SECONDS // 60
        return ARCHIVE_BEHIND, f"WAL has waited for more than {minutes} minutes to be archived. {full}"
    return None


def _silent(inputs: ConditionInputs) -> Condition:
    """Nothing is known of the repository: its pod does not answer."""
    held = next(
        (one for one in (inputs.body.get("status") or {}).get("conditions") or () if one["type"] == "BackedUp"), None
    )
    troubles = workloads.troubles(inputs, "backup")[: workloads.SHOWN]
    live = inputs.observed.workload(inputs.name, "backup")
    if held is None or (held["reason"] == NO_BACKUP_YET.name and not troubles):
        return TYPE.condition(NO_BACKUP_YET, "; ".join(["The backup pod starts", *troubles]))
    known = held["reason"] in {reason.name for reason in TYPE.reasons}
    if known and rolling(live) and not troubles:
        # It is replaced, which says nothing about the backups.
        return TYPE.condition(TYPE.reason(held["reason"]), held["message"])
    return TYPE.condition(REPOSITORY_UNAVAILABLE, "; ".join(["The backup pod does not answer", *troubles]))


def _repository(report: BackupReport) -> tuple[Reason, str] | None:
    error = report.last_backup_error
    if WRONG_KEY_CODE in (report.repository.code, error.code if error is not None else None):
        message = (
            "The repository cannot be read with the passphrase: it was made with another one. Restore the old "
            "passphrase, or choose another repository"
        )
        return WRONG_KEY, message
    if not report.repository.reachable and not report.repository.error:
        return NO_BACKUP_YET, "The backup pod has not read the repository yet"
    if not report.repository.reachable:
        return (
            REPOSITORY_UNAVAILABLE,
            f"The repository cannot be reached: {report.repository.error}",
        )
    if error is not None:
        return BACKUP_FAILED, f"The backup of {error.at} failed: {error.text}. Older backups and WAL are still there"
    return None


def _backups(inputs: ConditionInputs, spec: Backup, report: BackupReport) -> tuple[Reason, str]:
    if not report.backups:
        return NO_BACKUP_YET, "The first backup has not ended yet"
    last, verified = report.backups[-1], report.last_verify
    if last.error:
        message = (
            f"Backup {last.label} has pages whose checksums are wrong: the database itself is damaged "
            "(docs/runbooks/ChatChecksumFailure.md)"
        )
        return BACKUP_FAILED, message
    if verified is not None and not verified.ok:
        return VERIFY_FAILED, f"The verification of {verified.at} found faults in the repository: {verified.text}"
    due = due_after(spec, dt.datetime.fromisoformat(last.stopped))
    if report.phase != "backup" and inputs.now - due > dt.timedelta(seconds=OVERDUE_SECONDS):
        return (
            BACKUP_OVERDUE,
            f"The last backup ended at {last.stopped}, and the next one was due at {due:%Y-%m-%dT%H:%M:%SZ}",
        )
    return BACKED_UP, f"The last backup ({last.type}) ended at {last.stopped}, and WAL is archived"


def due_after(spec: Backup, ended: dt.datetime) -> dt.datetime:
    """When the schedule requires the next backup of either type, in UTC.

    Example: full on Sundays, incremental on all other days, both at 01:00; ended on Saturday at 01:10 -> Sunday 01:00.
    """
    schedule, at = spec.schedule, ended.astimezone(dt.UTC)
    return min(cron.following(expression, at) for expression in (schedule.full, schedule.incremental))
