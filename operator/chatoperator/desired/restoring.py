"""Restores: what a chat begins with, and a return to an earlier state in place, which an admin requests. Pure.

The state is in status.database.restore, so that an operator that has just started continues. Each step can be repeated:
what it leads to is decided from what is observed. docs/decisions/0080 has the phases.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import msgspec

from chatoperator.desired.database import had_database
from chatoperator.desired.restoration import (
    COMPLETED,
    FAILED,
    LATEST,
    RESTORING,
    STARTING,
    STOPPING,
    Refusal,
    Request,
    Restoration,
    held_in,
    requested,
)
from chatoperator.kube.objects import annotation, job_state
from chatoperator.kube.ownership import is_migrate_job
from chatoperator.metadata import BACKUP_ANNOTATION, RESTORE_ANNOTATION, claim_name
from chatoperator.parts.backup.usersecrets import NO_BACKUPS, SECRET_MISSING, SOURCE_MISSING, restore_fault

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed, Pod
    from chatoperator.reports import BackupReport, MadeBackup, RestoreOutcome

ROOM_FACTOR = 1.1
ROOM_BYTES = 256 * 2**20
"""What must be free beside the present data: the backup, a tenth for what its WAL adds, and WAL itself. The container
looks again, for less, so that it does not refuse what was accepted here."""


def decide(cluster: ChatCluster, body: Manifest, observed: Observed, *, now: dt.datetime) -> Restoration | None:
    """Decide how far the restore is; None where there is none.

    Args:
        cluster: The parsed spec.
        body: The whole ChatCluster: its annotation has the request, its status the state.
        observed: Its children, and what the running parts report.
        now: The time with its zone.
    """
    held = held_in(body)
    if held is None and cluster.database.restore is not None:
        held = Restoration(phase=RESTORING, target_time=cluster.database.restore.target_time or LATEST)
    if cluster.paused:
        return held
    if held is not None:
        held = _advanced(cluster, body, observed, held)
    text = annotation(body, RESTORE_ANNOTATION)
    if not text:
        return _without_refusal(held)
    request, fault = requested(text)
    if request is None:
        return _refused(held, Refusal("", "InvalidRequest", fault))
    if held is not None and request.id in {held.id, held.refused.id if held.refused is not None else None}:
        return held
    refusal = refuse(cluster, body, observed, held, request, now=now)
    if refusal is not None:
        return _refused(held, Refusal(request.id, *refusal))
    undone = held if request.undo else None
    return Restoration(
        id=request.id,
        phase=STOPPING,
        target_time=request.target_time,
        undoes=request.undo,
        began_at=rfc3339(now),
        left_from=undone.ended_at
        if undone is not None
        else ""
        if request.target_time == LATEST
        else request.target_time,
        backup_request=annotation(body, BACKUP_ANNOTATION) or "",
    )


def migrated(restoration: Restoration | None, *, done: bool) -> Restoration | None:
    """The same after the migration of the schema: with it the restore is complete.

    Args:
        restoration: The restore.
        done: Whether the migration of the restored database has succeeded.
    """
    if restoration is None or not restoration.in_place or restoration.phase != STARTING or not done:
        return restoration
    return msgspec.structs.replace(restoration, phase=COMPLETED, left_until=restoration.ended_at)


def _refused(held: Restoration | None, refusal: Refusal) -> Restoration:
    return msgspec.structs.replace(held or Restoration(), refused=refusal)


def _without_refusal(held: Restoration | None) -> Restoration | None:
    return None if held is None or not held.phase else msgspec.structs.replace(held, refused=None)


def _advanced(cluster: ChatCluster, body: Manifest, observed: Observed, held: Restoration) -> Restoration:
    if held.phase in {"", COMPLETED}:
        return held
    if not held.id:
        return _begun(cluster, body, observed, held)
    if held.phase == STOPPING:
        return held if _writers(cluster, observed) else msgspec.structs.replace(held, phase=RESTORING)
    if held.phase == STARTING:
        return held
    pods = [pod for pod in observed.component("postgres") if pod.restores == held.id]
    return _ended(held, _outcome(pods, held.id))


def _begun(cluster: ChatCluster, body: Manifest, observed: Observed, held: Restoration) -> Restoration:
    """The first content of a chat."""
    made = _ended(held, _outcome(observed.component("postgres"), ""), done=COMPLETED)
    if made.phase == COMPLETED:
        return made
    if had_database(cluster.name, body, observed):
        # Restored before status showed it.
        return msgspec.structs.replace(made, phase=COMPLETED, reason="", message="")
    spec = cluster.database.restore
    fault = restore_fault(spec, observed.user_secrets, observed.source) if spec is not None else None
    if fault is not None:
        return msgspec.structs.replace(made, phase=FAILED, reason=fault[0], message=fault[1])
    if made.reason in {SECRET_MISSING, SOURCE_MISSING, NO_BACKUPS}:
        return msgspec.structs.replace(made, phase=RESTORING, reason="", message="")
    return made


def _outcome(pods: tuple[Pod, ...] | list[Pod], request: str) -> RestoreOutcome | None:
    """What the container says of this very restore; a container that was killed says nothing of which."""
    found = [one for pod in pods for one in pod.outcomes if one.id == request or (request and not one.id and one.code)]
    return found[0] if found else None


def _ended(held: Restoration, outcome: RestoreOutcome | None, *, done: str = STARTING) -> Restoration:
    if outcome is None:
        return held
    if outcome.code is not None:
        return msgspec.structs.replace(held, phase=FAILED, reason=outcome.code, message=outcome.text)
    return msgspec.structs.replace(
        held,
        phase=done,
        reason="",
        message="",
        ended_at=outcome.ended or "",
        restored_to=outcome.restored_to or "",
        backup=outcome.backup,
        kept_data=outcome.kept,
    )


def _writers(cluster: ChatCluster, observed: Observed) -> bool:
    """Whether somebody may still write: of a lost node nothing is known, and the database refuses what was revoked."""
    jobs = [
        raw for (kind, name), raw in observed.children.items() if kind == "Job" and is_migrate_job(cluster.name, name)
    ]
    return any(not pod.lost for pod in observed.component("chatserver")) or any(job_state(job) is None for job in jobs)


def refuse(
    cluster: ChatCluster,
    body: Manifest,
    observed: Observed,
    held: Restoration | None,
    request: Request,
    *,
    now: dt.datetime,
) -> tuple[str, str] | None:
    """Why a request changes nothing: a word for programs, and a message with the remedy; None where it is accepted."""
    if request.target_time not in {"", LATEST} and _time(request.target_time) is None:
        return "InvalidRequest", f"targetTime {request.target_time} is not in the calendar"
    return (
        _refused_by_spec(cluster, observed, held, request)
        or _refused_by_volume(cluster, body, observed, held, request)
        or (None if request.undo else _refused_by_repository(observed, held, request, now))
    )


def _refused_by_spec(
    cluster: ChatCluster, observed: Observed, held: Restoration | None, request: Request
) -> tuple[str, str] | None:
    database = cluster.database
    if database.external is not None:
        return "External", "the database is external: who runs it restores it"
    if database.backup is None:
        return "NoBackups", "spec.database.backup is not set: there is nothing to restore from"
    several = any(observed.child("StatefulSet", f"{cluster.name}-postgres-{number}") for number in range(2, 6))
    if database.instances > 1 or several:
        return "SeveralInstances", (
            "a restore in place needs a database of one instance: set spec.database.instances to 1, wait until the "
            "others are removed, restore, and set it back"
        )
    # One that does not come to its end can be given up at any time: the container finds out what there is to undo.
    if held is not None and held.under_way and not (held.in_place and request.undo == held.id):
        return (
            "InProgress",
            f"restore {held.id or 'of the first content'} is in progress ({held.phase}): wait for its end",
        )
    return None


def _refused_by_volume(
    cluster: ChatCluster, body: Manifest, observed: Observed, held: Restoration | None, request: Request
) -> tuple[str, str] | None:
    claim = observed.child("PersistentVolumeClaim", claim_name(cluster.name))
    if claim is None or not had_database(cluster.name, body, observed):
        return "NoDatabase", "this chat has no database yet: set spec.database.restore when you create a ChatCluster"
    changing = [
        one["type"] for one in (claim.get("status") or {}).get("conditions") or () if one.get("status") == "True"
    ]
    if changing:
        return "StorageChanging", f"the volume is being changed ({', '.join(changing)}): wait until it is not"
    if not request.undo:
        return None
    if held is None or not held.in_place or held.id != request.undo:
        return "NothingKept", f"{request.undo} is not the last restore of this chat, so that it cannot be undone"
    volume = observed.agent.volume if observed.agent is not None else None
    if held.phase == COMPLETED and held.kept_data and volume is not None and held.kept_data not in volume.kept:
        return "NothingKept", f"folder {held.kept_data} is not on the volume any more: restore to a time before instead"
    return None


def _refused_by_repository(
    observed: Observed, held: Restoration | None, request: Request, now: dt.datetime
) -> tuple[str, str] | None:
    report, archive = observed.backup, observed.agent.archive if observed.agent is not None else None
    if report is None or not report.repository.reachable:
        why = report.repository.error if report is not None else "the backup pod does not answer"
        return (
            "RepositoryUnavailable",
            f"the repository cannot be reached: {why or 'the backup pod has not read it yet'}",
        )
    window, target = _window(report), _time(request.target_time)
    if report.oldest_restorable is None:
        return "OutsideWindow", "the repository has no backup from which all WAL is there"
    if target is not None and (target <= _at(report.oldest_restorable) or target > now):
        return "OutsideWindow", f"{request.target_time} is outside of the window: {window}"
    newest = _at(report.newest_archived) if report.newest_archived is not None else None
    if archive is not None and archive.failing and (target is None or newest is None or target > newest):
        said = f": {archive.error}" if archive.error else ""
        return "ArchiveFailing", f"WAL cannot be archived{said}. What is not archived cannot be restored: {window}"
    if target is not None and held is not None and _is_left(held, target):
        return "LeftHistory", (
            f"restore {held.id} has left the history between {held.left_from or 'its begin'} and {held.left_until}: "
            f"undo it first (kubectl chatcluster restore --undo), then restore to {request.target_time}"
        )
    return _without_room(observed, report, target)


def _is_left(held: Restoration, target: dt.datetime) -> bool:
    begin, end = _time(held.left_from), _time(held.left_until)
    return begin is not None and end is not None and begin < target < end


def _without_room(observed: Observed, report: BackupReport, target: dt.datetime | None) -> tuple[str, str] | None:
    volume, backup = observed.agent.volume if observed.agent is not None else None, _backup(report, target)
    if volume is None or backup is None:
        # PostgreSQL does not run. The container looks before it copies anything.
        return None
    needed = int(backup.bytes * ROOM_FACTOR) + ROOM_BYTES
    if volume.free_bytes >= needed:
        return None
    kept = f"; earlier restores have kept {', '.join(volume.kept)}, which you can delete" if volume.kept else ""
    return "NoRoom", (
        f"the restored data needs about {_mebibytes(needed)} MiB beside the present data, and the volume has "
        f"{_mebibytes(volume.free_bytes)} MiB free: raise spec.database.storage.size, or restore into a new ChatCluster"
        f"{kept}"
    )


def _backup(report: BackupReport, target: dt.datetime | None) -> MadeBackup | None:
    """The one with which it begins."""
    earlier = [one for one in report.backups if target is None or _at(one.stopped) < target]
    return earlier[-1] if earlier else None


def _window(report: BackupReport) -> str:
    return f"the chat can be restored to times after {report.oldest_restorable} and up to now"


def _mebibytes(count: int) -> int:
    return count // 2**20


def _time(text: str) -> dt.datetime | None:
    """A time with its zone; None where a text is none."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def rfc3339(time: dt.datetime) -> str:
    """As Kubernetes writes times."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
