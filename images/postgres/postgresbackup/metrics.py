"""The metrics of a repository host. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from postgresagent import metrics
from postgresagent.metrics import Metric
from postgresbackup import repository, schedule

if TYPE_CHECKING:
    import datetime as dt

    from postgresbackup.status import State

CONTENT_TYPE = metrics.CONTENT_TYPE

METRICS = (
    Metric(
        "chatbackup_repository_reachable", "gauge", "Whether the repository could be read at the last look: 1 or 0."
    ),
    Metric("chatbackup_backups", "gauge", "Backups in the repository, by type.", ("type",)),
    Metric(
        "chatbackup_last_backup_timestamp_seconds",
        "gauge",
        "Unix time at which the last backup of a type ended; 0 before the first.",
        ("type",),
    ),
    Metric(
        "chatbackup_last_backup_duration_seconds",
        "gauge",
        "Time that the last backup of a type took; absent until the first.",
        ("type",),
    ),
    Metric("chatbackup_due_timestamp_seconds", "gauge", "Unix time at which the next backup of the schedule is due."),
    Metric(
        "chatbackup_overdue_since_timestamp_seconds",
        "gauge",
        "Unix time at which a backup that is overdue should have begun; absent while none is.",
    ),
    Metric("chatbackup_backup_failing", "gauge", "Whether the last try of a backup failed: 1 or 0."),
    Metric("chatbackup_database_bytes", "gauge", "Size of the database at the last backup."),
    Metric("chatbackup_repository_bytes", "gauge", "Size of all backups in the repository, without WAL."),
    Metric("chatbackup_repository_free_bytes", "gauge", "Free bytes on the repository's volume, if it is one."),
    Metric("chatbackup_repository_size_bytes", "gauge", "Size of the repository's volume, if it is one."),
    Metric(
        "chatbackup_oldest_restorable_timestamp_seconds",
        "gauge",
        "Unix time of the oldest state from which all WAL is there; absent without a backup.",
    ),
    Metric(
        "chatbackup_newest_restorable_timestamp_seconds",
        "gauge",
        "Unix time up to which every commit is in the repository; it stands still while nothing is written.",
    ),
    Metric("chatbackup_archive_gaps", "gauge", "Places at which archived WAL is missing since the oldest backup."),
    Metric("chatbackup_running", "gauge", "Whether a kind of work runs now: 1 or 0.", ("kind",)),
    Metric(
        "chatbackup_runs_total", "counter", "Work that ended since the start, by kind and result.", ("kind", "result")
    ),
    Metric(
        "chatbackup_last_verify_timestamp_seconds",
        "gauge",
        "Unix time at which backups were read and compared with their checksums last; absent until the first time.",
    ),
    Metric("chatbackup_verify_failing", "gauge", "Whether what was read last was damaged: 1 or 0."),
    Metric(
        "chatbackup_last_good_drill_timestamp_seconds",
        "gauge",
        "Unix time at which a restore drill succeeded last; absent until the first time.",
    ),
    Metric("chatbackup_last_drill_duration_seconds", "gauge", "Time that the last restore drill took."),
    Metric(
        "chatbackup_last_drill_messages", "gauge", "Messages that the last restore drill restored, if it succeeded."
    ),
    Metric("chatbackup_drill_failing", "gauge", "Whether the last restore drill failed: 1 or 0."),
    Metric(
        "chatbackup_drill_overdue_since_timestamp_seconds",
        "gauge",
        "Unix time at which a restore drill that is overdue should have begun; absent while none is.",
    ),
)
"""All of them. docs/reference/metrics.md is made from this list."""

TYPES = {repository.FULL: "full", repository.INCREMENTAL: "incremental"}
"""Of backups, as labels have them."""

KINDS = {**TYPES, schedule.VERIFY: "verify", schedule.DRILL: "drill"}


def page(state: State) -> bytes:
    """Return the page in Prometheus' text format."""
    return metrics.page(values(state), METRICS)


def values(state: State) -> dict[str, Any]:
    """Return the values, by metric."""
    backups = state.found.backups
    newest = {TYPES[one.type]: one for one in backups if one.type in TYPES}
    window, verified = state.window, state.last_verify
    drill = state.last_drill if state.has_drills else None
    return {
        "chatbackup_repository_reachable": int(state.problem is None and state.looked_at is not None),
        "chatbackup_backups": [[label, sum(one.type == kind for one in backups)] for kind, label in TYPES.items()],
        "chatbackup_last_backup_timestamp_seconds": [
            [label, newest[label].stopped.timestamp() if label in newest else 0] for label in TYPES.values()
        ],
        "chatbackup_last_backup_duration_seconds": [
            [label, (one.stopped - one.started).total_seconds()] for label, one in newest.items()
        ],
        "chatbackup_due_timestamp_seconds": _unix(state.next_due),
        "chatbackup_overdue_since_timestamp_seconds": _unix(state.overdue_since),
        "chatbackup_backup_failing": int(state.last_failure is not None),
        "chatbackup_database_bytes": backups[-1].bytes if backups else None,
        "chatbackup_repository_bytes": sum(one.repository_bytes for one in backups),
        "chatbackup_repository_free_bytes": state.volume.free if state.volume else None,
        "chatbackup_repository_size_bytes": state.volume.size if state.volume else None,
        "chatbackup_oldest_restorable_timestamp_seconds": _unix(window.oldest.stopped if window.oldest else None),
        "chatbackup_newest_restorable_timestamp_seconds": _unix(
            repository.newest_restorable(state.found, state.newest_commit)
        ),
        "chatbackup_archive_gaps": len(window.gaps),
        "chatbackup_running": [[label, int(state.phase == kind)] for kind, label in KINDS.items()],
        "chatbackup_runs_total": [[KINDS[kind], result, count] for (kind, result), count in sorted(state.runs.items())],
        "chatbackup_last_verify_timestamp_seconds": _unix(verified.at if verified else None),
        "chatbackup_verify_failing": int(verified is not None and not verified.ok),
        "chatbackup_last_good_drill_timestamp_seconds": _unix(drill.good_at) if drill else None,
        "chatbackup_last_drill_duration_seconds": drill.seconds if drill else None,
        "chatbackup_last_drill_messages": drill.content.messages if drill and drill.content else None,
        "chatbackup_drill_failing": int(not drill.ok) if drill else None,
        "chatbackup_drill_overdue_since_timestamp_seconds": _unix(state.drill_overdue_since),
    }


def _unix(time: dt.datetime | None) -> float | None:
    return None if time is None else time.timestamp()
