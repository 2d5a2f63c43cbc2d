"""The migration Job as an admin meets it: told once, and not run again after it has succeeded."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration


async def test_a_finished_job_that_somebody_removes_does_not_run_again(operator: Operator) -> None:
    await operator.brought_up()
    operator.admin.delete_all("job")
    await operator.reconcile(2)
    assert await operator.kube.list("Job", operator.namespace) == []
    operator.restart()
    await operator.reconcile(2)
    assert await operator.kube.list("Job", operator.namespace) == []
    assert (await operator.condition("Progressing"))["reason"] not in {"Migrating", "MigrationFailing"}
    # Another image has migrations of its own.
    operator.patch({"chatserver": {"image": "chatserver:2"}})
    await operator.reconcile(2)
    assert len(await operator.kube.list("Job", operator.namespace)) == 1


async def test_a_migration_that_fails_in_each_try_is_told_once_for_each_job(operator: Operator) -> None:
    operator.create()
    await operator.reconcile(2)
    job = await operator.migrate_job()
    pod = operator.job_pod(job)
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    tries: tuple[dict[str, Any], ...] = (
        {"ready": False, "state": ended},
        {"ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended},
        {"ready": True, "state": {"running": {}}, "lastState": ended},
    )
    for told in tries * 3:
        container = {"name": "migrate", "restartCount": 1, "image": "chatserver:1", "imageID": "", **told}
        operator.patch_status("pod", pod, {"containerStatuses": [container]})
        await operator.reconcile()
        assert (await operator.condition("Progressing"))["reason"] == "MigrationFailing"
    await _job_fails(operator, job["metadata"]["name"])
    await operator.reconcile()
    assert (await operator.condition("Progressing"))["reason"] == "MigrationFailed"
    operator.later = dt.timedelta(seconds=61)
    operator.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    await operator.reconcile(3)
    assert (await operator.condition("Progressing"))["reason"] == "MigrationFailing"
    made = operator.admin.list("event")
    reasons = [event["reason"] for event in made if event["involvedObject"]["kind"] == "ChatCluster"]
    assert [reasons.count(reason) for reason in ("Migrating", "MigrationFailing", "MigrationFailed")] == [1, 1, 1]


async def _job_fails(operator: Operator, name: str) -> None:
    """What the Job controller writes after the last try."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    reason = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
    failed = [
        {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now, **reason}
        for kind in ("FailureTarget", "Failed")
    ]
    operator.patch_status("job", name, {"conditions": failed, "failed": 9, "startTime": now})
