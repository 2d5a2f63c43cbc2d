"""What the operator makes of pods and workloads as the API server gives them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from chatoperator.kube.objects import pod, rolling
from chatoperator.reconcile.observe import LOST_AFTER_SECONDS, is_lost

GRACE_ENDS = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)

CRASHED = {"terminated": {"exitCode": 2, "reason": "Error"}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container"}}


def raw(**metadata: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "demo-chatserver-a", "labels": {}, **metadata},
        "spec": {"nodeName": "node-2"},
        "status": {"containerStatuses": [{"started": True, "state": {"running": {}}}]},
    }


@pytest.mark.parametrize(
    ("seconds", "lost"), [(-50, False), (0, False), (LOST_AFTER_SECONDS, False), (LOST_AFTER_SECONDS + 1, True)]
)
def test_a_pod_that_outstays_its_grace_is_lost(seconds: float, *, lost: bool) -> None:
    leaving = raw(deletionTimestamp="2026-11-25T12:00:00Z")
    assert is_lost(leaving, GRACE_ENDS + dt.timedelta(seconds=seconds)) == lost
    assert pod(leaving).terminating


def test_a_lost_pod_names_its_node_and_what_can_be_done() -> None:
    leaving = raw(deletionTimestamp="2026-11-25T12:00:00Z")
    assert pod(leaving).trouble is None
    trouble = pod(leaving, lost=True).trouble
    assert trouble is not None
    assert "node-2" in trouble
    assert "delete the Node" in trouble


def test_a_pod_that_stays_is_not_lost_however_old() -> None:
    assert not is_lost(raw(), GRACE_ENDS + dt.timedelta(days=1000))
    assert not pod(raw()).terminating


def test_a_migration_that_runs_again_after_it_ended_has_not_recovered() -> None:
    again = {"name": "migrate", "ready": True, "state": {"running": {}}, "lastState": CRASHED}
    raw_pod = {"metadata": {"name": "x"}, "status": {"containerStatuses": [again]}}
    assert pod(raw_pod).trouble is None
    raw_pod["metadata"] = {"name": "x", "labels": {"app.kubernetes.io/component": "migrate"}}
    assert pod(raw_pod).trouble == "container migrate exited with code 2"
    done = {**again, "ready": False, "state": {"terminated": {"exitCode": 0}}}
    assert pod({**raw_pod, "status": {"containerStatuses": [done]}}).trouble is None


def trouble(*, ready: bool = False, conditions: Any = (), **container: Any) -> str | None:
    return pod(
        {
            "metadata": {"name": "demo-chatserver-x"},
            "status": {
                "conditions": conditions,
                "containerStatuses": [{"name": "chatserver", "ready": ready, **container}],
            },
        }
    ).trouble


@pytest.mark.parametrize(
    "container",
    [
        pytest.param({"state": CRASHED}, id="has ended"),
        pytest.param({"state": BACK_OFF, "lastState": CRASHED}, id="waits for the next try"),
        pytest.param({"state": {"running": {}}, "lastState": CRASHED}, id="tries again"),
    ],
)
def test_a_container_that_keeps_ending_gives_one_sentence_at_every_moment(container: dict[str, Any]) -> None:
    """Otherwise the condition would turn with every try."""
    assert trouble(**container) == "container chatserver exited with code 2"


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, None),
        (
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
            "container chatserver: ErrImagePull: not found",
        ),
        (
            {"state": BACK_OFF, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
            "container chatserver exited with code 137 (OOMKilled)",
        ),
        (
            {"state": {"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}}},
            "container chatserver exited with code 128 (StartError: no such file)",
        ),
        ({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "lastState": CRASHED}, None),
        ({"state": {"running": {}}, "lastState": CRASHED, "ready": True}, None),
    ],
)
def test_what_keeps_a_container_from_being_ready(container: dict[str, Any], told: str | None) -> None:
    assert trouble(**container) == told


def test_a_pod_that_finds_no_node_says_so() -> None:
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    assert trouble(conditions=[nowhere]) == "Unschedulable: 0/1 nodes"


WELL = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}


def deployment(reason: str = "NewReplicaSetAvailable", **status: int) -> dict[str, Any]:
    conditions = [{"type": "Progressing", "status": "True", "reason": reason}]
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": 2},
        "status": {**WELL, "conditions": conditions, **status},
    }


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        pytest.param(None, False, id="not there yet"),
        pytest.param(deployment(), False, id="all is as it should be"),
        pytest.param(deployment(replicas=1, updatedReplicas=1, readyReplicas=1), False, id="a pod died"),
        pytest.param(deployment(observedGeneration=1), True, id="Kubernetes has not seen the change yet"),
        pytest.param(deployment("ReplicaSetUpdated", replicas=3, updatedReplicas=1), True, id="old pods are there"),
        pytest.param(deployment("ReplicaSetUpdated"), True, id="new ones have to prove themselves"),
        pytest.param(deployment("NewReplicaSetCreated", replicas=0, updatedReplicas=0), True, id="the first ones"),
        pytest.param(deployment("ProgressDeadlineExceeded"), True, id="it does not come to an end"),
    ],
)
def test_a_deployment_rolls_until_kubernetes_calls_it_complete(live: dict[str, Any] | None, *, expected: bool) -> None:
    assert rolling(live) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"currentRevision": "a", "updateRevision": "a"}, False, id="one revision"),
        pytest.param({"currentRevision": "a", "updateRevision": "a", "replicas": 0}, False, id="its pod died"),
        pytest.param({"currentRevision": "a", "updateRevision": "b"}, True, id="two revisions"),
        pytest.param({"observedGeneration": 1}, True, id="not seen yet"),
    ],
)
def test_a_stateful_set_rolls_while_it_has_two_revisions(status: dict[str, Any], *, expected: bool) -> None:
    counts = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    counts["updatedReplicas"] = int(status.get("replicas", 1))
    live = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": {**counts, **status}}
    assert rolling(live) is expected


@pytest.mark.parametrize(
    ("injected", "outlived"),
    [([], False), ([{"running": {}}], True), ([{"waiting": {}}], True), ([{"terminated": {"exitCode": 0}}], False)],
)
def test_a_job_is_outlived_by_an_injected_container_alone(injected: list[dict[str, Any]], *, outlived: bool) -> None:
    """The pod's phase says Running for some time after the last container has ended."""
    states = [{"terminated": {"exitCode": 0}}, *injected]
    containers = [{"name": name, "state": state} for name, state in zip(("migrate", "proxy"), states, strict=False)]
    labels = {"app.kubernetes.io/component": "migrate"}
    raw = {"metadata": {"name": "x", "labels": labels}, "status": {"phase": "Running", "containerStatuses": containers}}
    assert pod(raw).outlived is outlived
