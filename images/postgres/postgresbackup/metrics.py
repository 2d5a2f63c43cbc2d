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
    Metric("chatbackup_repository_up", "gauge", "Whether the repository could be read at the last look: 1 or 0."),
    Metric("chatbackup_backups", "gauge", "Backups in the repository, by type.", ("type",)),
    Metric(
        "chatbackup_last_backup_timestamp_seconds",
        "gauge",
        "Unix time at which the last backup of a type ended; absent until the first.",
        ("type",),
    ),
    Metric(
        "chatbackup_last_backup_duration_seconds",
        "gauge",
        "Time that the last backup of a type took; absent until the first.",
        ("type",),
    ),
    Metric("chatbackup_database_bytes", "gauge", "Size of the database at the last backup."),
    Metric("chatbackup_repository_bytes", "gauge", "Size of all backups in the repository, without WAL."),
    Metric(
        "chatbackup_oldest_restorable_timestamp_seconds",
        "gauge",
        "Unix time of the oldest state from which all WAL is there; absent without a backup.",
    ),
    Metric(
        "chatbackup_newest_restorable_timestamp_seconds",
        "gauge",
        "Unix time of the last commit in the archived WAL; it stands still while nothing is written.",
    ),
    Metric("chatbackup_archive_gaps", "gauge", "Places at which archived WAL is missing since the oldest backup."),
    Metric(
        "chatbackup_overdue_since_timestamp_seconds",
        "gauge",
        "Unix time at which a backup that is overdue should have begun; absent while none is.",
    ),
    Metric("chatbackup_running", "gauge", "Whether a kind of work runs now: 1 or 0.", ("kind",)),
    Metric("chatbackup_runs_total", "counter", "Work that ended since the start, by kind and result.", ("kind", "result")),
    Metric(
        "chatbackup_last_verify_timestamp_seconds",
        "gauge",
        "Unix time at which backups were read and compared with their checksums last; absent until the first time.",
    ),
    Metric("chatbackup_last_verify_ok", "gauge", "Whether what was read last was whole: 1 or 0."),
    Metric(
        "chatbackup_volume_free_bytes", "gauge", "Free bytes on the repository's volume; absent for object stores."
    ),
    Metric("chatbackup_volume_size_bytes", "gauge", "Size of the repository's volume; absent for object stores."),
)
"""All of them. docs/reference/metrics.md is made from this list."""

KINDS = (repository.FULL, repository.INCREMENTAL, schedule.VERIFY)


def page(state: State) -> bytes:
    """Return the page in Prometheus' text format."""
    return metrics.page(values(state), METRICS)


def values(state: State) -> dict[str, Any]:
    """Return the values, by metric."""
    backups = state.found.backups
    newest = {one.type: one for one in backups}
    window, verified = state.window, state.last_verify
    return {
        "chatbackup_repository_up": int(state.problem is None and state.looked_at is not None),
        "chatbackup_backups": [[kind, sum(one.type == kind for one in backups)] for kind in KINDS[:2]],
        "chatbackup_last_backup_timestamp_seconds": [[kind, _unix(one.stopped)] for kind, one in newest.items()],
        "chatbackup_last_backup_duration_seconds": [
            [kind, (one.stopped - one.started).total_seconds()] for kind, one in newest.items()
        ],
        "chatbackup_database_bytes": backups[-1].bytes if backups else None,
        "chatbackup_repository_bytes": sum(one.repository_bytes for one in backups),
        "chatbackup_oldest_restorable_timestamp_seconds": _unix(window.oldest.stopped if window.oldest else None),
        "chatbackup_newest_restorable_timestamp_seconds": _unix(state.newest_commit),
        "chatbackup_archive_gaps": len(window.gaps),
        "chatbackup_overdue_since_timestamp_seconds": _unix(state.overdue_since),
        "chatbackup_running": [[kind, int(state.phase == kind)] for kind in KINDS],
        "chatbackup_runs_total": [[kind, result, count] for (kind, result), count in sorted(state.runs.items())],
        "chatbackup_last_verify_timestamp_seconds": _unix(verified.at if verified else None),
        "chatbackup_last_verify_ok": None if verified is None else int(verified.ok),
        "chatbackup_volume_free_bytes": state.volume.free if state.volume else None,
        "chatbackup_volume_size_bytes": state.volume.size if state.volume else None,
    }


def _unix(time: dt.datetime | None) -> float | None:
    return None if time is None else time.timestamp()
