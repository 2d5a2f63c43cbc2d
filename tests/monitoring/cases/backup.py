"""Cases for monitoring/rules/backup.py."""

from tests.support.rulecases import Case, Signal, gauge

WORKS = {
    "chatbackup_backup_failing": gauge(0, 0),
    "chatbackup_verify_failing": gauge(0, 0),
    "chatbackup_repository_reachable": gauge(1, 1),
}


CASES = [
    # A replica archives nothing.
    Case(
        "ChatArchiveBehind",
        ("ticket",),
        {
            'chatpostgres_archive_lag_seconds{pod="a"}': gauge(20, 900, 500),
            'chatpostgres_archive_lag_seconds{pod="b"}': gauge(0, 0),
        },
    ),
    Case("ChatArchiveBehind", ("ticket",), {"chatpostgres_archive_lag_seconds": gauge(20, 900)}, brief=4),
    Case(
        "ChatBackupOverdue",
        ("ticket",),
        {"chatbackup_overdue_since_timestamp_seconds": Signal(0, 9000, 6900, "clock")},
        steps=(20, 20, 30),
    ),
    Case(
        "ChatBackupFailing",
        ("ticket",),
        {**WORKS, "chatbackup_backup_failing": gauge(0, 1)},
        steps=(20, 40, 40),
        brief=25,
    ),
    Case(
        "ChatBackupFailing",
        ("ticket",),
        {**WORKS, "chatbackup_verify_failing": gauge(0, 1)},
        steps=(20, 40, 40),
        brief=25,
    ),
    Case(
        "ChatBackupFailing",
        ("ticket",),
        {**WORKS, "chatbackup_repository_reachable": gauge(1, 0)},
        steps=(20, 40, 40),
        brief=25,
    ),
    Case(
        "ChatBackupRepositoryFilling",
        ("ticket",),
        {
            "chatbackup_repository_free_bytes": gauge(50, 10, 20),
            "chatbackup_repository_size_bytes": gauge(100, 100),
        },
    ),
    Case("ChatRestoreDrillFailed", ("ticket",), {"chatbackup_drill_failing": gauge(0, 1)}, brief=4),
    Case(
        "ChatRestoreDrillOverdue",
        ("ticket",),
        {"chatbackup_drill_overdue_since_timestamp_seconds": Signal(0, 90_000, 86_000, "clock")},
    ),
]
