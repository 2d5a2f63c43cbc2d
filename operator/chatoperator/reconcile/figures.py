"""The fields of status beside the conditions: address, volume, certificate, number, release. Pure."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from chatoperator.desired.restoration import shown as shown_restore
from chatoperator.metadata import member_name, part_name
from chatoperator.parts.database.replication import patroni
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.ingress.tls.expiry import rfc3339
from chatoperator.parts.losses import irreplaceables
from chatoperator.parts.remembered import STATUS_FIELD, record
from chatoperator.reconcile.keep import policy
from chatoperator.reporting import status

if TYPE_CHECKING:
    from chatoperator.desired import Desired
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.reports import DrillReport


NEWEST_STEP_MINUTES, LAG_STEP_SECONDS = 5, 60
"""What moves all the time is shown in steps, each of which costs a write of the status."""


def figures(body: Manifest, observed: Observed, desired: Desired) -> dict[str, Any]:
    """Fields of status, by name; None removes one.

    Args:
        body: The ChatCluster.
        observed: Its children after the reconcile.
        desired: What the reconcile required.
    """
    cluster = desired.cluster
    service = observed.child("Service", part_name(cluster.name, "ingress"))
    return {
        "url": status.url(cluster, service, observed.component("ingress")),
        "volumeSize": desired.database.volume.size,
        "certificate": _certificate(desired),
        "desiredReplicas": desired.replicas,
        "version": desired.release.version,
        "images": _images(desired),
        "deletionPolicy": policy(body, observed),
        "database": _database(body, desired, observed),
        STATUS_FIELD: record(body, observed, irreplaceables(cluster, observed)),
    }


def _database(body: Manifest, desired: Desired, observed: Observed) -> dict[str, Any] | None:
    """The instances of the database by their pods, of several, and the backups; None where there is neither."""
    made, held = desired.replication, patroni.read(desired.cluster.name, observed)
    shown: dict[str, Any] = {}
    if made is not None:
        instances = []
        for instance in made.instances:
            name = member_name(desired.cluster.name, instance.number)
            report = observed.agents.get(name)
            member = report.member if report is not None else None
            lag = member.lag_bytes if member is not None and name != made.leader else None
            instances.append(
                {
                    "name": name,
                    "state": member.state if member is not None else "unknown",
                    "synchronous": name in held.standbys,
                    # In whole MiB: of a replica that follows it stays 0, and each change of the status is a request.
                    "lagMebibytes": lag // 2**20 if lag is not None else None,
                }
            )
        shown = {"leader": made.leader, "instances": instances}
    before: dict[str, Any] = (body.get("status") or {}).get("database") or {}
    if desired.backup is not None:
        shown["backup"] = _with_nulls(_backup(observed, before.get("backup") or {}), before.get("backup") or {})
    if desired.restoration is not None:
        shown["restore"] = _with_nulls(shown_restore(desired.restoration), before.get("restore") or {})
    return _with_nulls(shown, before) if shown else None


def _with_nulls(shown: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The same with null for what status still has and is to lose: a merge patch keeps what it does not name."""
    return {**{name: None for name in before if name not in shown}, **shown}


def _backup(observed: Observed, before: dict[str, Any]) -> dict[str, Any]:
    """The backups; while the backup pod gives no report, what it said last."""
    report, agent = observed.backup, observed.agent
    archive = agent.archive if agent is not None else None
    lag = (
        {}
        if archive is None
        else {"archiveLagSeconds": int(archive.lag_seconds // LAG_STEP_SECONDS) * LAG_STEP_SECONDS}
    )
    if report is None:
        return {**before, **lag}
    full = [one for one in report.backups if one.type == "full"]
    last = report.backups[-1] if report.backups else None
    found = {
        "lastBackupAt": last.stopped if last is not None else None,
        "lastBackupType": last.type if last is not None else None,
        "lastFullBackupAt": full[-1].stopped if full else None,
        "oldestRestorableTime": report.oldest_restorable,
        "newestRestorableTime": _newest(report.oldest_restorable, report.newest_archived),
        "lastVerifiedAt": report.last_verify.at if report.last_verify is not None else None,
        "lastError": report.last_backup_error.text if report.last_backup_error is not None else None,
        "answeredRequest": report.answered_request,
        **_drill(report.last_drill),
        "answeredDrill": report.answered_drill,
    }
    return {**{name: value for name, value in found.items() if value is not None}, **lag}


def _drill(last: DrillReport | None) -> dict[str, Any]:
    if last is None:
        return {}
    return {
        "lastDrillAt": last.at,
        "lastGoodDrillAt": last.good_at,
        "lastDrillSeconds": int(last.seconds),
        "lastDrillMessages": last.messages,
        "lastDrillNewestMessageAt": last.newest_message,
        "lastDrillRestoredTo": last.restored_to,
        "lastDrillError": None if last.ok else last.text or last.code,
    }


def _newest(oldest: str | None, newest: str | None) -> str | None:
    """In steps of five minutes, but no earlier than the oldest; None where nothing was archived since."""
    if oldest is None or newest is None or _time(newest) < _time(oldest):
        return None
    return max(_step(newest), oldest, key=_time)


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _step(time: str) -> str:
    """The end of the step of five minutes before a time: 10:14:59 -> 10:10:00. It moves only so often."""
    at = dt.datetime.fromisoformat(time).astimezone(dt.UTC)
    return rfc3339(at.replace(minute=at.minute - at.minute % NEWEST_STEP_MINUTES, second=0, microsecond=0))


def _certificate(desired: Desired) -> dict[str, str] | None:
    """The certificate that HAProxy should serve, so that somebody who replaced it can wait for it."""
    served = desired.serving.pair.certificate if desired.serving.pair is not None else ""
    sha256, expires = self_signed.fingerprint(served), self_signed.expires_at(served)
    return {"sha256": sha256, "notAfter": rfc3339(expires)} if sha256 is not None and expires is not None else None


def _images(desired: Desired) -> dict[str, str]:
    """What runs: the chatserver's image counts once its migrations have run."""
    template, images = desired.migration.template, desired.release.images
    return {
        "chatserver": template.image if template else images.chatserver,
        "postgres": images.postgres,
        "haproxy": images.haproxy,
        **({"valkey": images.valkey} if images.valkey else {}),
    }
