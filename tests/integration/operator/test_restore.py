"""Restores on a real API server, with the rights of the release, by operators that are restarted at each step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.reports import BackupReport, MadeBackup, RepositoryReport

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

TO_VOLUME: dict[str, Any] = {"backup": {"repository": {"volume": {"size": "30Gi"}}}}

TARGET = "2026-01-01T10:15:00Z"

REPORT = BackupReport(
    RepositoryReport(reachable=True),
    (MadeBackup("20260101-010000F", "full", "2026-01-01T01:10:00Z", bytes=1),),
    oldest_restorable="2026-01-01T01:10:00Z",
    newest_archived="2026-01-01T11:58:59Z",
)


async def backed_up(operator: Operator) -> None:
    """A chat with backups, whose database and one chatserver run."""
    operator.chatcluster["spec"]["database"] = TO_VOLUME
    await operator.brought_up()
    operator.rolled_out()
    operator.all_ready("statefulset", "demo-backup")
    operator.pod("demo-backup-0", "backup")
    operator.pod("demo-chatserver-a")
    operator.pod("demo-postgres-0", "postgres")
    operator.prober.backup_report = REPORT
    await operator.reconcile()


def request(operator: Operator, **fields: str) -> None:
    operator.kubectl("annotate", "chatcluster", "demo", "--overwrite", f"chatcluster.io/restore={json.dumps(fields)}")


async def held(operator: Operator) -> dict[str, Any]:
    return dict((await operator.status())["database"]["restore"])


async def after_a_restart(operator: Operator) -> dict[str, Any]:
    """What another operator makes of it; returns the restore in status."""
    operator.restart()
    await operator.reconcile()
    return await held(operator)


async def replicas(operator: Operator) -> int:
    return int((await operator.get("Deployment", "demo-chatserver"))["spec"]["replicas"])


async def new_pod(operator: Operator) -> None:
    """What the StatefulSet's controller does after a change of the template."""
    operator.admin.delete("pod", "demo-postgres-0")
    operator.pod("demo-postgres-0", "postgres")
    template = (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"]["metadata"]["annotations"]
    for name, value in template.items():
        operator.kubectl("annotate", "pod", "demo-postgres-0", "--overwrite", f"{name}={value}")


def container_ended(operator: Operator, code: int, **message: Any) -> None:
    """What kubelet reports of the container that restores."""
    state = {"terminated": {"exitCode": code, "message": json.dumps(message)}}
    status = {"name": "restore-in-place", "image": "postgres:1", "imageID": "", "ready": code == 0, "restartCount": 0}
    operator.patch_status("pod", "demo-postgres-0", {"initContainerStatuses": [{**status, "state": state}]})


async def succeeded(operator: Operator, name: str, **fields: Any) -> None:
    made = {"id": name, "target": TARGET, "ended": "2026-01-02T00:00:00Z", "kept": f"pgdata.before-{name}", **fields}
    container_ended(operator, 0, restored=made)


async def migrated_again(operator: Operator, before: set[str]) -> set[str]:
    """Let the Job succeed that a restored database needs; returns the names of all Jobs there have been."""
    (new,) = {job["metadata"]["name"] for job in operator.admin.list("Job")} - before
    now = "2026-01-02T00:00:00Z"
    done = [
        {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    operator.patch_status("job", new, {"conditions": done, "succeeded": 1, "startTime": now, "completionTime": now})
    return before | {new}


async def test_a_restore_in_place_goes_on_with_whatever_operator(operator: Operator) -> None:  # noqa: PLR0915 - one story
    await backed_up(operator)
    jobs = {job["metadata"]["name"] for job in operator.admin.list("Job")}
    count = await replicas(operator)
    assert count > 0
    template = (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"]

    request(operator, id="first", targetTime=TARGET)
    assert (await after_a_restart(operator))["phase"] == "Stopping"
    assert await replicas(operator) == 0
    assert (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"] == template
    condition = await operator.condition("DatabaseRestored")
    assert (condition["status"], condition["reason"]) == ("False", "Restoring")
    assert (await operator.condition("Progressing"))["reason"] == "Restoring"
    assert (await after_a_restart(operator))["phase"] == "Stopping", "a chatserver is still there"
    assert (await operator.status())["desiredReplicas"] == count

    operator.admin.delete("pod", "demo-chatserver-a")
    assert (await after_a_restart(operator))["phase"] == "Restoring"
    await operator.reconcile()
    (container,) = (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"]["spec"]["initContainers"]
    assert container["name"] == "restore-in-place"
    assert (await operator.get("ConfigMap", "demo-postgres"))["data"]["restore"] == "first pending"
    # The old pod is still there.
    assert (await after_a_restart(operator))["phase"] == "Restoring"

    await new_pod(operator)
    container_ended(operator, 1, failed={"id": "first", "code": "wal_missing", "text": "file 7 is gone"})
    assert (await after_a_restart(operator))["phase"] == "Failed"
    condition = await operator.condition("DatabaseRestored")
    assert condition["reason"] == "WalMissing"
    assert "file 7 is gone" in condition["message"]
    events = json.loads(operator.kubectl("get", "events", "-o", "json"))["items"]
    assert [one["type"] for one in events if one["reason"] == "WalMissing"] == ["Warning"]
    assert {job["metadata"]["name"] for job in operator.admin.list("Job")} == jobs, "nothing is migrated"

    await succeeded(operator, "first", restored_to=TARGET)
    assert (await after_a_restart(operator))["phase"] == "Starting"
    await operator.reconcile()
    assert await replicas(operator) == 0
    assert (await operator.get("ConfigMap", "demo-postgres"))["data"]["restore"] == "first done"
    jobs = await migrated_again(operator, jobs)
    found = await after_a_restart(operator)
    assert (found["phase"], found["keptData"], found["restoredTo"]) == ("Completed", "pgdata.before-first", TARGET)
    assert "message" not in found
    await operator.reconcile()
    assert await replicas(operator) == count
    assert (await operator.condition("DatabaseRestored"))["status"] == "True"
    plan = json.loads((await operator.get("ConfigMap", "demo-backup"))["data"]["backup.json"])
    assert plan["request"] == "restored-first"
    restored = (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"]
    before = len(operator.writes())
    await operator.reconcile(2)
    assert len(operator.writes()) == before, "there is nothing to do"

    # A request that is refused changes nothing, also not what the pods have.
    request(operator, id="second", targetTime="2025-01-01T00:00:00Z")
    found = await after_a_restart(operator)
    assert (found["id"], found["phase"], found["refused"]["reason"]) == ("first", "Completed", "OutsideWindow")
    assert (await operator.condition("DatabaseRestored"))["reason"] == "RequestRefused"
    assert await replicas(operator) == count
    assert (await operator.get("StatefulSet", "demo-postgres"))["spec"]["template"] == restored
    operator.kubectl("annotate", "chatcluster", "demo", "chatcluster.io/restore-")
    assert "refused" not in await after_a_restart(operator)

    # And the way back.
    request(operator, id="third", undo="first")
    assert (await after_a_restart(operator))["phase"] == "Stopping"
    assert (await after_a_restart(operator))["phase"] == "Restoring"
    await operator.reconcile()
    await new_pod(operator)
    await succeeded(operator, "third")
    assert (await after_a_restart(operator))["phase"] == "Starting"
    await operator.reconcile()
    await migrated_again(operator, jobs)
    found = await after_a_restart(operator)
    assert (found["phase"], found["undoes"], found["leftFrom"]) == ("Completed", "first", "2026-01-02T00:00:00Z")
    assert "targetTime" not in found


async def test_a_chat_whose_source_is_missing_says_so(operator: Operator) -> None:
    operator.chatcluster["spec"]["database"] = {"restore": {"from": {"chatCluster": {"name": "old"}}}}
    operator.create()
    await operator.reconcile()
    condition = await operator.condition("DatabaseRestored")
    assert (condition["status"], condition["reason"]) == ("False", "SourceMissing")
    assert "ChatCluster old of database.restore.from.chatCluster" in condition["message"]
    assert (await held(operator))["phase"] == "Failed"
    events = json.loads(operator.kubectl("get", "events", "-o", "json"))["items"]
    assert [one["type"] for one in events if one["reason"] == "SourceMissing"] == ["Warning"]


async def test_a_chat_whose_secret_is_missing_names_it(operator: Operator) -> None:
    store = {"bucket": "chats", "region": "eu", "endpoint": "s3.example.com", "secretName": "store"}
    source = {"repository": {"s3": store, "encryption": {"secretName": "key"}}}
    operator.chatcluster["spec"]["database"] = {"restore": {"from": source}}
    operator.create()
    await operator.reconcile()
    condition = await operator.condition("DatabaseRestored")
    assert condition["reason"] == "SecretMissing"
    assert "Secret store of database.restore.from.repository.s3.secretName" in condition["message"]
    for name, keys in (
        ("store", ("access-key-id=a", "secret-access-key=b")),
        ("key", ("passphrase=hidden-passphrase",)),
    ):
        operator.kubectl("create", "secret", "generic", name, *(f"--from-literal={pair}" for pair in keys))
    await operator.reconcile()
    condition = await operator.condition("DatabaseRestored")
    assert condition["reason"] == "Restoring"
    assert "hidden-passphrase" not in json.dumps(await operator.status())
