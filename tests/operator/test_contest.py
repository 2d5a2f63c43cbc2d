"""Other writers: undone at once a few times, then ever more seldom, and reported with fields and names."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from chatoperator.desired.manifests import render
from chatoperator.kube.contest import (
    CALM_SECONDS,
    UNDONE_FREELY,
    WAIT_SECONDS,
    Contest,
    contested,
    differing,
    is_held,
    overruled,
    undone,
    writers,
)
from tests.support.chatclusters import cluster, desired

KEY = ("Deployment", "demo-ingress")
MANIFEST = next(made for made in render(desired(cluster())) if (made["kind"], made["metadata"]["name"]) == KEY)


def test_a_writer_that_goes_on_is_undone_ever_more_seldom() -> None:
    contest: Contest | None = None
    now, waits = 0.0, []
    for _ in range(UNDONE_FREELY + len(WAIT_SECONDS) + 2):
        contest = undone(contest, now, ["spec.replicas"], ["mesh"])
        waits.append(contest.until() - now)
        assert is_held(contest, contest.until() - 1) or contest.until() == now
        now = contest.until()
        assert not is_held(contest, now)
    assert waits == [0, 0, *WAIT_SECONDS, WAIT_SECONDS[-1], WAIT_SECONDS[-1], WAIT_SECONDS[-1]]
    day = 24 * 3600
    assert day / waits[-1] < 150, "applies a day"


def test_what_stayed_for_long_is_forgotten() -> None:
    contest = Contest(10, 0.0)
    assert undone(contest, contest.until() + CALM_SECONDS, [], []).undone == 1
    assert undone(contest, contest.until() + CALM_SECONDS - 1, [], []).undone == 11
    assert contested({KEY: contest}, {}, None, contest.until() + CALM_SECONDS) is None


def test_a_report_names_objects_fields_and_writers_and_comes_only_where_it_lasts() -> None:
    assert contested({KEY: Contest(UNDONE_FREELY - 1, 0.0, ("spec.replicas",))}, {}, None, 1) is None
    made = contested({KEY: Contest(UNDONE_FREELY, 0.0, ("spec.replicas",), ("mesh", "kubectl"))}, {}, None, 1)
    assert made is not None
    assert made.reason == "OtherWriter"
    assert "Deployment demo-ingress (spec.replicas; changed by mesh, kubectl)" in made.message
    gone = contested({KEY: Contest(UNDONE_FREELY, 0.0)}, {}, None, 1)
    assert gone is not None
    assert "Deployment demo-ingress (deleted)" in gone.message
    unnamed = contested({KEY: Contest(UNDONE_FREELY, 0.0, ("spec.replicas",))}, {}, None, 1)
    assert unnamed is not None
    assert "(spec.replicas; changed by a program that uses the field manager of the operator" in unnamed.message
    policy = contested({}, {KEY: ("spec.replicas",)}, None, 1)
    assert policy is not None
    assert (policy.reason, "Deployment demo-ingress: spec.replicas" in policy.message) == ("Overruled", True)
    rival = contested({}, {}, "other/lease (release 2)", 1)
    assert rival is not None
    assert (rival.reason, "other/lease (release 2)" in rival.message) == ("OtherOperator", True)
    assert contested({}, {KEY: ()}, None, 1) is None


def test_only_fields_that_the_operator_sets_differ() -> None:
    before = copy.deepcopy(MANIFEST)
    before["status"] = {"replicas": 7}
    before["spec"]["progressDeadlineSeconds"] = 600
    before["metadata"]["annotations"] = {"somebody": "else"}
    assert differing(MANIFEST, before, MANIFEST) == ()
    before["spec"]["replicas"] = 9
    before["metadata"]["labels"] = {**before["metadata"]["labels"], "app.kubernetes.io/name": "mine"}
    before["spec"]["template"]["spec"]["containers"] = []
    assert sorted(differing(MANIFEST, before, MANIFEST)) == [
        "metadata.labels.app.kubernetes.io/name",
        "spec.replicas",
        "spec.template.spec.containers",
    ]
    assert differing(MANIFEST, None, MANIFEST) == ()


def _set(stored: dict[str, Any], value: Any, *path: Any) -> dict[str, Any]:
    at: Any = stored
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return stored


LIMITS = ("spec", "template", "spec", "containers", 0, "resources", "limits")
CONTAINER = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("spec", "replicas"), 1, ("spec.replicas",)),
        (("metadata", "labels"), {}, 4),
        ((*CONTAINER, "image"), "mirror/haproxy:1", ("spec.template.spec.containers[0].image",)),
        ((*LIMITS, "cpu"), "2000", ("spec.template.spec.containers[0].resources.limits.cpu",)),
        # What others add, and what the API server writes its own way, is nothing.
        (("metadata", "labels", "team"), "a", ()),
        ((*CONTAINER, "terminationMessagePath"), "/dev/termination-log", ()),
        (("spec", "template", "spec", "containers"), [{}, {}, {}], ()),
    ],
)
def test_what_a_policy_has_changed_is_found_and_what_kubernetes_fills_in_is_not(
    path: tuple[Any, ...], value: Any, found: Any
) -> None:
    stored = _set(copy.deepcopy(MANIFEST), value, *path)
    told = overruled(MANIFEST, stored)
    assert told == found if isinstance(found, tuple) else len(told) >= found


def test_quantities_are_compared_as_numbers() -> None:
    manifest = {"kind": "Deployment", "metadata": {}, "spec": {"cpu": "1000m", "memory": "1024Mi", "size": "1Gi"}}
    assert overruled(manifest, {"spec": {"cpu": "1", "memory": "1Gi", "size": "1Gi"}}) == ()
    assert overruled(manifest, {"spec": {"cpu": "1", "memory": "1G", "size": "1Gi"}}) == ("spec.memory",)


def test_the_latest_writers_come_first_and_the_operator_is_none_of_them() -> None:
    fields = [
        {"manager": "kubectl", "time": "2026-01-01T00:00:00Z"},
        {"manager": "chatcluster-operator", "time": "2026-01-03T00:00:00Z"},
        {"manager": "mesh", "time": "2026-01-02T00:00:00Z"},
        {"manager": "kube-controller-manager", "time": "2026-01-04T00:00:00Z", "subresource": "status"},
        {"manager": "kubectl", "time": "2026-01-01T00:00:00Z"},
    ]
    assert writers({"metadata": {"managedFields": fields}}, "chatcluster-operator") == ("mesh", "kubectl")
    assert writers(None, "chatcluster-operator") == ()
