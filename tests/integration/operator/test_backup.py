"""Backups on a real API server, with the rights of the release: made, reported, what is lost kept back, and removed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.reports import BackupError, BackupReport, DrillReport, MadeBackup, RepositoryReport, VerifyReport

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

TO_VOLUME: dict[str, Any] = {"backup": {"repository": {"volume": {"size": "30Gi"}}}}

OBJECTS = (
    ("StatefulSet", "demo-backup"),
    ("Service", "demo-backup"),
    ("Service", "demo-backup-1"),
    ("NetworkPolicy", "demo-backup"),
    ("ConfigMap", "demo-backup"),
    ("Secret", "demo-backup-key"),
    ("Secret", "demo-backup-tls"),
    ("PersistentVolumeClaim", "demo-backup-data"),
)

GOOD = BackupReport(
    RepositoryReport(reachable=True),
    (MadeBackup("20991130-010000F", "full", "2099-11-30T01:10:00Z"),),
    oldest_restorable="2099-11-30T01:10:00Z",
    newest_archived="2099-11-30T11:58:59Z",
    last_verify=VerifyReport("2099-11-30T04:00:00Z", ok=True),
    answered_request="2099-11-30T01.00.00Z",
)


DRILLED = DrillReport("2099-11-30T05:01:00Z", ok=False, seconds=9, code="damaged", text="pg_amcheck: damaged")


async def there(operator: Operator) -> set[tuple[str, str]]:
    found = {key: await operator.kube.get(key[0], operator.namespace, key[1]) for key in OBJECTS}
    return {key for key, raw in found.items() if raw is not None}


async def backed_up(operator: Operator) -> None:
    """A chat with backups on a volume whose backup pod reports the first one."""
    operator.chatcluster["spec"]["database"] = TO_VOLUME
    await operator.brought_up()
    operator.rolled_out()
    operator.all_ready("statefulset", "demo-backup")
    operator.pod("demo-backup-0", "backup")
    operator.prober.backup_report = GOOD
    await operator.reconcile()


async def test_a_chat_with_backups_has_their_objects_and_reports_them(operator: Operator) -> None:
    await backed_up(operator)
    assert await there(operator) == set(OBJECTS)
    condition = await operator.condition("BackedUp")
    assert (condition["status"], condition["reason"]) == ("True", "BackedUp")
    assert (await operator.status())["database"] == {
        "backup": {
            "lastBackupAt": "2099-11-30T01:10:00Z",
            "lastBackupType": "full",
            "lastFullBackupAt": "2099-11-30T01:10:00Z",
            "oldestRestorableTime": "2099-11-30T01:10:00Z",
            "newestRestorableTime": "2099-11-30T11:55:00Z",
            "lastVerifiedAt": "2099-11-30T04:00:00Z",
            "answeredRequest": "2099-11-30T01.00.00Z",
        }
    }
    config = (await operator.get("ConfigMap", "demo-postgres"))["data"]["postgresql.conf"]
    assert "archive_mode = 'on'" in config
    before = len(operator.writes())
    await operator.reconcile(2)
    assert len(operator.writes()) == before, "there is nothing to do"

    error = BackupError("2099-11-30T02:00:00Z", "no space left on device", "full")
    operator.prober.backup_report = BackupReport(GOOD.repository, GOOD.backups, last_backup_error=error)
    await operator.reconcile()
    assert (await operator.condition("BackedUp"))["reason"] == "BackupFailed"
    backup = (await operator.status())["database"]["backup"]
    assert backup["lastError"] == "no space left on device"
    assert "newestRestorableTime" not in backup
    events = json.loads(operator.kubectl("get", "events", "-o", "json"))["items"]
    assert [one["type"] for one in events if one["reason"] == "BackupFailed"] == ["Warning"]
    operator.prober.backup_report = GOOD
    await operator.reconcile()
    assert "lastError" not in (await operator.status())["database"]["backup"]


async def test_a_drill_that_failed_is_a_condition_and_an_event(operator: Operator) -> None:
    await backed_up(operator)
    assert "RestoreTested" not in {one["type"] for one in (await operator.status())["conditions"]}
    operator.patch({"database": {"backup": {"drill": {}}}})
    await operator.reconcile()
    assert (await operator.condition("RestoreTested"))["reason"] == "NoDrillYet"
    pod = (await operator.get("StatefulSet", "demo-backup"))["spec"]["template"]["spec"]
    (scratch,) = [one["ephemeral"]["volumeClaimTemplate"]["spec"] for one in pod["volumes"] if "ephemeral" in one]
    database = await operator.get("PersistentVolumeClaim", "demo-postgres-data")
    assert scratch["resources"] == database["spec"]["resources"]
    operator.prober.backup_report = replace(GOOD, last_drill=DRILLED, answered_drill="a")
    await operator.reconcile()
    assert (await operator.condition("RestoreTested"))["reason"] == "DrillFailed"
    shown = (await operator.status())["database"]["backup"]
    assert (shown["lastDrillError"], shown["answeredDrill"]) == ("pg_amcheck: damaged", "a")
    events = json.loads(operator.kubectl("get", "events", "-o", "json"))["items"]
    assert [one["type"] for one in events if one["reason"] == "DrillFailed"] == ["Warning"]
    good = replace(DRILLED, ok=True, code="", text="", messages=7, good_at=DRILLED.at)
    operator.prober.backup_report = replace(GOOD, last_drill=good, answered_drill="a")
    await operator.reconcile()
    assert (await operator.condition("RestoreTested"))["status"] == "True"
    shown = (await operator.status())["database"]["backup"]
    assert (shown["lastDrillMessages"], shown.get("lastDrillError")) == (7, None)
    operator.patch({"database": {"backup": {"drill": None}}})
    await operator.reconcile()
    assert "RestoreTested" not in {one["type"] for one in (await operator.status())["conditions"]}


async def test_a_request_reaches_the_configuration_of_the_backup_pod(operator: Operator) -> None:
    await backed_up(operator)
    pod = (await operator.get("Pod", "demo-backup-0"))["metadata"]["annotations"]
    operator.kubectl("annotate", "chatcluster", "demo", "chatcluster.io/backup=2099-11-30T02.00.00Z")
    await operator.reconcile()
    plan = json.loads((await operator.get("ConfigMap", "demo-backup"))["data"]["backup.json"])
    assert plan["request"] == "2099-11-30T02.00.00Z"
    assert (await operator.get("Pod", "demo-backup-0"))["metadata"]["annotations"] != pod


async def test_a_lost_passphrase_is_put_back_and_after_a_restart_missed_and_never_replaced(operator: Operator) -> None:
    await backed_up(operator)
    before = (await operator.get("Secret", "demo-backup-key"))["data"]["passphrase"]
    operator.admin.delete("secret", "demo-backup-key")
    await operator.reconcile()
    assert (await operator.get("Secret", "demo-backup-key"))["data"]["passphrase"] == before

    operator.restart()
    operator.admin.delete("secret", "demo-backup-key")
    await operator.reconcile(2)
    assert ("Secret", "demo-backup-key") not in await there(operator)
    assert (await operator.condition("BackedUp"))["reason"] == "KeyMissing"
    assert (await operator.condition("DataSafe"))["reason"] == "PassphraseLost"
    said = json.dumps(await operator.status()) + operator.kubectl("get", "events", "-o", "json")
    assert before not in said


async def test_the_repository_outlives_the_end_of_backups_and_cannot_be_deleted(operator: Operator) -> None:
    await backed_up(operator)
    claim = await operator.get("PersistentVolumeClaim", "demo-backup-data")
    assert "ownerReferences" not in claim["metadata"]
    operator.patch({"database": {"backup": None}})
    await operator.reconcile(2)
    assert await there(operator) == {
        ("ConfigMap", "demo-backup"),
        ("Secret", "demo-backup-key"),
        ("Secret", "demo-backup-tls"),
        ("PersistentVolumeClaim", "demo-backup-data"),
    }
    assert "BackedUp" not in {one["type"] for one in (await operator.status())["conditions"]}


async def test_a_repository_that_is_lost_is_not_begun_anew(operator: Operator) -> None:
    await backed_up(operator)
    operator.patch_status("persistentvolumeclaim", "demo-backup-data", {"phase": "Bound"})
    await operator.reconcile()
    operator.restart()
    operator.kubectl("delete", "persistentvolumeclaim", "demo-backup-data", "--wait=false")
    operator.kubectl(
        "patch", "persistentvolumeclaim", "demo-backup-data", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
    await operator.reconcile(2)
    assert ("PersistentVolumeClaim", "demo-backup-data") not in await there(operator)
    assert (await operator.condition("BackedUp"))["reason"] == "RepositoryUnavailable"
    assert (await operator.condition("DataSafe"))["reason"] == "RepositoryLost"


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ({"backup": {"repository": {}}}, "exactly one of volume, s3, gcs and azure"),
        (
            {"backup": {"repository": {"volume": {}, "gcs": {"bucket": "chats", "secretName": "a"}}}},
            "exactly one of volume, s3, gcs and azure",
        ),
        ({**TO_VOLUME, "parameters": {"archive_mode": "off"}}, "database.parameters must not set archive_mode"),
        ({**TO_VOLUME, "parameters": {"wal_level": "minimal"}}, "wal_level other than logical"),
        ({**TO_VOLUME, "external": {"secretName": "theirs"}}, "who runs database.external backs it up"),
        ({"restore": {"from": {}}}, "exactly one of chatCluster and repository"),
        (
            {"restore": {"from": {"repository": {"gcs": {"bucket": "chats", "secretName": "a"}}}}},
            "encryption.secretName must be set",
        ),
        ({"backup": {"repository": {"volume": {}}, "schedule": {"full": "daily"}}}, "schedule.full"),
        ({"backup": {"repository": {"volume": {}}, "drill": {"schedule": "monthly"}}}, "drill.schedule"),
        ({"backup": {"repository": {"volume": {}}, "drill": {"timeoutSeconds": 1}}}, "drill.timeoutSeconds"),
    ],
)
def test_wrong_backups_are_refused_with_a_sentence(operator: Operator, database: dict[str, Any], told: str) -> None:
    operator.chatcluster["spec"]["database"] = database
    assert told in operator.admin.refusal(operator.chatcluster)


def test_a_restore_is_set_at_creation_only(operator: Operator) -> None:
    operator.create()
    operator.chatcluster["spec"]["database"] = {"restore": {"from": {"chatCluster": {"name": "old"}}}}
    changed = operator.server.run_kubectl("replace", "-f", "-", stdin=json.dumps(operator.chatcluster))
    assert "database.restore can be set only at creation" in changed.stderr
