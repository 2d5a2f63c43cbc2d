"""A service mesh adds a container to the migrate Job's pod that never ends; Kubernetes' own Job controller runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cluster import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60


@pytest.fixture
def _jobs(operator: Operator) -> Iterator[None]:
    with operator.server.controllers("job-controller"):
        yield


def _pods(operator: Operator) -> list[dict[str, Any]]:
    listed = operator.kubectl("get", "pods", "-l", "app.kubernetes.io/component=migrate", "-o", "json")
    made: list[dict[str, Any]] = json.loads(listed)["items"]
    return made


async def _pod(operator: Operator) -> str:
    async def there() -> bool:
        return bool(_pods(operator))

    await until(there, "the migrate Job's pod", PATIENCE_SECONDS, poll_seconds=0.1)
    return str(_pods(operator)[0]["metadata"]["name"])


def _report(operator: Operator, pod: str, migrate: dict[str, Any]) -> None:
    """What the kubelet says of both containers."""
    sidecar = {"name": "mesh-proxy", "ready": True, "started": True, "state": {"running": {}}}
    common = {"image": "image:1", "imageID": "", "restartCount": 0}
    containers = [{**common, **sidecar}, {**common, "name": "migrate", "ready": False, "state": migrate}]
    operator.patch_status("pod", pod, {"phase": "Running", "containerStatuses": containers})


@pytest.mark.usefixtures("_jobs")
async def test_a_migration_counts_though_an_injected_sidecar_runs_on(operator: Operator) -> None:
    operator.create()
    await operator.reconcile(2)
    pod = await _pod(operator)
    operator.patch_status("statefulset", "demo-postgres", {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1})
    _report(operator, pod, {"running": {}})
    await operator.reconcile()
    assert "Container migrate of Job" in (await operator.condition("Progressing"))["message"]
    _report(operator, pod, {"terminated": {"exitCode": 0, "reason": "Completed"}})
    await operator.reconcile(2)
    job = await operator.migrate_job()
    await operator.get("Deployment", "demo-chatserver")
    assert job["spec"]["suspend"] is True

    async def gone() -> bool:
        return not _pods(operator)

    await until(gone, "the sidecar's end", PATIENCE_SECONDS, poll_seconds=0.1)
    # It stays done: for this operator, for the next one, and when the servers are made anew.
    operator.admin.delete("deployment", "demo-chatserver")
    operator.restart()
    await operator.reconcile(3)
    await operator.get("Deployment", "demo-chatserver")
    assert (await operator.migrate_job())["metadata"]["uid"] == job["metadata"]["uid"]
    assert not _pods(operator)


@pytest.mark.usefixtures("_jobs")
async def test_a_migration_that_fails_beside_a_sidecar_does_not_count(operator: Operator) -> None:
    operator.create()
    await operator.reconcile(2)
    _report(operator, await _pod(operator), {"terminated": {"exitCode": 1, "reason": "Error"}})
    await operator.reconcile(2)
    assert await operator.kube.get("Deployment", operator.namespace, "demo-chatserver") is None
    assert "container migrate exited with code 1" in (await operator.condition("Progressing"))["message"]


async def test_a_pod_of_somebody_else_does_not_say_that_the_migration_is_done(operator: Operator) -> None:
    """Its labels can be copied; only the Job's own pods count."""
    operator.create()
    await operator.reconcile(2)
    job = await operator.migrate_job()
    _report(operator, operator.job_pod(job, own=False), {"terminated": {"exitCode": 0, "reason": "Completed"}})
    await operator.reconcile(2)
    assert await operator.kube.get("Deployment", operator.namespace, "demo-chatserver") is None
