"""A pod that Kubernetes rejects is told in its own words, whatever kind of workload makes it: with real controllers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cluster import until

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60

CONTROLLERS = ("statefulset-controller", "job-controller", "deployment-controller", "replicaset-controller")

LIMIT_RANGE = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "small"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]},
}

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "full"},
    "spec": {"hard": {"pods": "0"}},
}


async def _says(operator: Operator, kind: str, *words: str) -> dict[str, Any]:
    """The condition, once it has all the words."""

    async def there() -> bool:
        await operator.reconcile()
        message = (await operator.condition(kind))["message"]
        return all(word in message for word in words)

    await until(there, f"{kind} says {words}", PATIENCE_SECONDS)
    return await operator.condition(kind)


async def test_a_pod_that_a_limit_range_rejects_is_told_of_each_workload(operator: Operator) -> None:
    operator.kubectl("create", "-f", "-", stdin=json.dumps(LIMIT_RANGE))
    operator.create()
    own_words = ("is forbidden", "maximum memory usage per Container is 1Mi")
    with operator.server.controllers(*CONTROLLERS):
        await operator.reconcile(2)
        told = await _says(operator, "DatabaseReady", *own_words, 'pods "demo-postgres-0"', "spec.database.resources")
        assert (told["status"], told["reason"]) == ("False", "NotReady")
        job = (await operator.migrate_job())["metadata"]["name"]
        told = await _says(operator, "Progressing", *own_words, f"Job {job} has no pod", "spec.chatserver.resources")
        assert (told["status"], told["reason"]) == ("True", "MigrationFailing")
        assert f"Job {job} runs" not in told["message"]
        waiting = await operator.condition("ChatserverReady")
        assert "is forbidden" in waiting["message"]
        # Of HAProxy a condition of its Deployment says the same.
        await _says(operator, "IngressReady", *own_words, "spec.ingress.resources")
        ready = await operator.condition("Ready")
        assert "is forbidden" in ready["message"]


async def test_a_pod_for_which_the_quota_is_used_up_is_told_by_a_warning_too(operator: Operator) -> None:
    operator.kubectl("create", "-f", "-", stdin=json.dumps(QUOTA))
    operator.create()
    with operator.server.controllers(*CONTROLLERS, "resourcequota-controller"):
        await operator.reconcile(2)
        await _says(operator, "DatabaseReady", "exceeded quota: full, requested: pods=1")
        warnings = operator.admin.list("event")
        told = [event for event in warnings if event["involvedObject"]["kind"] == "ChatCluster"]
        assert any(event["type"] == "Warning" and "exceeded quota: full" in event["message"] for event in told)


async def test_a_healthy_chat_asks_for_no_events(operator: Operator) -> None:
    await operator.brought_up()
    for part in ("postgres", "chatserver", "ingress"):
        operator.pod(f"demo-{part}-x", part)
    await operator.reconcile()
    before = len(_asked_for_events(operator))
    await operator.reconcile(3)
    assert len(_asked_for_events(operator)) == before


def _asked_for_events(operator: Operator) -> list[str]:
    wanted = f"/api/v1/namespaces/{operator.namespace}/events?"
    return [str(entry["requestURI"]) for entry in operator.server.audit(wanted) if wanted in str(entry["requestURI"])]
