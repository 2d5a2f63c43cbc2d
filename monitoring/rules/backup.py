"""Alerts on backups of the database and on the archive of its WAL."""

from __future__ import annotations

from monitoring.rules.declared import CHAT, Alert, Group, Severity

GROUPS = (
    Group(
        "chatcluster-backup",
        "30s",
        (
            Alert(
                "ChatArchiveBehind",
                Severity.TICKET,
                "max by (namespace, chatcluster) (chatpostgres_archive_lag_seconds) > seconds(10m)",
                "5m",
                f"WAL of {CHAT} is not archived",
                "The oldest WAL that waits to be archived is {{ $value | humanizeDuration }} old: what was written "
                "since then is lost with the volumes of the database, and WAL that waits fills them. The repository "
                "is unavailable, full or slow; the condition BackedUp says why.",
            ),
            Alert(
                "ChatBackupOverdue",
                Severity.TICKET,
                "max by (namespace, chatcluster) (time() - chatbackup_overdue_since_timestamp_seconds) > seconds(2h)",
                "10m",
                f"A backup of {CHAT} is overdue",
                "A backup should have begun {{ $value | humanizeDuration }} ago and is not in the repository. A "
                "restore has to replay all WAL since the last backup, and takes longer from day to day. No WAL is "
                "missing unless ChatArchiveBehind fires too.",
            ),
            Alert(
                "ChatBackupFailing",
                Severity.TICKET,
                "max by (namespace, chatcluster) (chatbackup_backup_failing)\n"
                "+ max by (namespace, chatcluster) (chatbackup_verify_failing)\n"
                "+ (1 - min by (namespace, chatcluster) (chatbackup_repository_reachable)) > 0",
                "30m",
                f"Backups of {CHAT} fail",
                "For half an hour the last backup has failed, the last verification has found damage, or the "
                "repository cannot be read. Older backups are still there, but newer states may not be restorable. The "
                "condition BackedUp quotes the error.",
            ),
            Alert(
                "ChatBackupRepositoryFilling",
                Severity.TICKET,
                "max by (namespace, chatcluster) (\n"
                "  1 - chatbackup_repository_free_bytes / (chatbackup_repository_size_bytes > 0)\n"
                ") > 0.85",
                "10m",
                f"The volume with the backups of {CHAT} is nearly full",
                "{{ $value | humanizePercentage }} of the repository's volume is in use. When it is full, no WAL is "
                "archived, and the volume of the database fills next. Raise database.backup.repository.volume.size, or "
                "keep fewer full backups.",
            ),
            Alert(
                "ChatRestoreDrillFailed",
                Severity.TICKET,
                "max by (namespace, chatcluster) (chatbackup_drill_failing) > 0",
                "5m",
                f"The last restore drill of {CHAT} failed",
                "The newest backup was restored as a test, and that failed or the restored database is damaged: a real "
                "restore may fail too. The condition RestoreTested says why.",
            ),
            Alert(
                "ChatRestoreDrillOverdue",
                Severity.TICKET,
                "max by (namespace, chatcluster) (\n"
                "  time() - chatbackup_drill_overdue_since_timestamp_seconds\n"
                ") > seconds(1d)",
                "10m",
                f"A restore drill of {CHAT} is overdue",
                "A restore drill should have begun {{ $value | humanizeDuration }} ago and has no result: nobody knows "
                "whether the backups can be restored. Backups are not concerned unless ChatBackupOverdue fires too.",
            ),
        ),
    ),
)
