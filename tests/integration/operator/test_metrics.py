"""The operator's metrics on a real API server: they show what holds, and disappear with their ChatCluster."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest

from chatoperator.metrics.prometheus import REGISTRY
from chatoperator.observed import Answer, Reading
from tests.support.findings import tell
from tests.support.prometheus import check

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

SERIES_MAX = 45
"""Of a ChatCluster, as docs/operations/scale.md says: a thousand of them have 45,000."""

GONE = "demo-chatserver-gone"


def value(operator: Operator, name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"namespace": operator.namespace, "name": "demo"} | labels)


def reason(operator: Operator, kind: str) -> tuple[str, str]:
    """Status and reason of a condition, which has one series."""
    (labels,) = [
        sample.labels
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "chatcluster_condition"
        and (sample.labels["namespace"], sample.labels["type"]) == (operator.namespace, kind)
    ]
    return labels["status"], labels["reason"]


def naming(operator: Operator) -> list[str]:
    """All series with a label that names the ChatCluster's namespace: each test has one of its own."""
    return [
        sample.name
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if operator.namespace in sample.labels.values()
    ]


async def test_conditions_replicas_and_the_certificate_are_exported_as_status_has_them(operator: Operator) -> None:
    await operator.brought_up()
    assert value(operator, "chatcluster_replicas", component="database", state="ready") == 0
    operator.rolled_out()
    operator.prober.answer = Answer(ok=True, message="A request through the ingress was answered", seconds=0.25)
    await operator.reconcile()
    status = await operator.status()
    for component, number in (("chatserver", 2), ("ingress", 2), ("database", 1)):
        for state in ("desired", "ready"):
            assert value(operator, "chatcluster_replicas", component=component, state=state) == number
    ready = await operator.condition("Ready")
    assert reason(operator, "Ready") == ("True", ready["reason"])
    since = value(operator, "chatcluster_condition_since_timestamp_seconds", type="Ready")
    assert since == dt.datetime.fromisoformat(ready["lastTransitionTime"]).timestamp()
    expiry = value(operator, "chatcluster_certificate_expiry_timestamp_seconds")
    assert expiry == dt.datetime.fromisoformat(status["certificate"]["notAfter"]).timestamp()
    assert value(operator, "chatcluster_answer_seconds") == 0.25
    assert value(operator, "chatcluster_desired_replicas") == 2
    assert len(naming(operator)) <= SERIES_MAX
    tell(f"series of a ChatCluster on the operator's page: {len(naming(operator))}")

    operator.prober.answer = Answer(ok=False, message="A request through the ingress failed", seconds=1)
    operator.patch({"ingress": {"replicas": 3}})
    await operator.reconcile()
    assert reason(operator, "Ready")[0] == "False"
    assert value(operator, "chatcluster_ready") == 0
    assert value(operator, "chatcluster_answer_failures_total") == 1
    assert value(operator, "chatcluster_replicas", component="ingress", state="desired") == 3


async def test_a_deleted_chatcluster_has_no_series(operator: Operator) -> None:
    await operator.brought_up()
    assert naming(operator) != []
    operator.kubectl("delete", "cc", "demo", "--wait=true")
    await operator.reconcile()
    assert naming(operator) == []


async def test_nor_one_that_was_deleted_while_nobody_led(operator: Operator) -> None:
    await operator.brought_up()
    operator.reconciler.withdraw()
    assert naming(operator) == [], "an operator that stops exports nothing"
    operator.kubectl("delete", "cc", "demo", "--wait=true")
    operator.restart()
    await operator.cache.refill()
    assert operator.reconciler.chatclusters() == []
    await operator.reconcile()
    assert naming(operator) == []


async def test_nor_one_that_another_operator_serves(operator: Operator) -> None:
    await operator.brought_up()
    operator.reconciler.withdraw()
    operator.restart(namespace="another-system")
    await operator.reconcile(2)
    assert naming(operator) == []


async def test_the_connections_that_a_leaving_server_closed_are_kept(operator: Operator) -> None:
    await operator.brought_up()
    operator.rolled_out()
    operator.pod(GONE, node="node-a")
    await operator.reconcile()
    before = REGISTRY.get_sample_value("chatcluster_drain_seconds_count") or 0
    operator.kubectl("delete", "pod", GONE, "--wait=false", "--grace-period=600")
    await operator.reconcile(seconds=1)
    for count in (0, 4, 9):
        operator.prober.connections = {GONE: Reading(20, draining=True, forced_closes=count)}
        await operator.reconciler.read_drains()
    operator.kubectl("delete", "pod", GONE, "--force", "--grace-period=0")
    operator.prober.connections = {}
    await operator.reconcile(seconds=30)
    await operator.reconciler.read_drains()
    assert value(operator, "chatcluster_drain_forced_closes_total") == 9
    assert REGISTRY.get_sample_value("chatcluster_drain_seconds_count") == before + 1


async def test_promtool_finds_nothing_on_the_page_of_the_operator(operator: Operator) -> None:
    await operator.brought_up()
    page = generate_latest(REGISTRY).decode()
    assert f'namespace="{operator.namespace}"' in page
    assert check("metrics", page) == ""
    assert "_created" not in page
