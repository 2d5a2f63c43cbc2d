"""Whose an object is, and which names are the operator's."""

from __future__ import annotations

from typing import Any

import pytest

from chatoperator.desired.manifests import render
from chatoperator.kube.kinds import CERTIFICATE, CHILDREN, ROUTE
from chatoperator.kube.ownership import is_child, is_migrate_job, is_ours, is_pod_of, own_names
from chatoperator.metadata import COMPONENT_LABEL, FIELD_MANAGER, labels
from chatoperator.parts.ingress.tls.serving import Serving
from chatoperator.parts.needs import needs, unbegun, without
from tests.operator.test_restarts import EXAMPLES
from tests.support.chatclusters import SELF_SIGNED, cluster, desired

UID = "0000-demo"


def _owner(**changed: Any) -> dict[str, Any]:
    made = {"apiVersion": "chatcluster.io/v1alpha1", "kind": "ChatCluster", "name": "demo", "uid": UID}
    return {**made, "controller": True, **changed}


def _object(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": "1", **metadata}}


@pytest.mark.parametrize("spec", [{}, *EXAMPLES.values(), {"database": {"external": {"secretName": "mine"}}}])
def test_every_object_that_a_spec_asks_for_has_a_name_of_the_operators(spec: dict[str, Any]) -> None:
    serving = Serving(self_signed=SELF_SIGNED, certificate_uid="1")
    rendered = render(desired(cluster(**spec), serving=serving, served={CERTIFICATE, ROUTE}))
    made = [(one["kind"], one["metadata"]["name"]) for one in rendered]
    jobs = {key for key in made if key[0] == "Job"}
    assert all(is_migrate_job("demo", name) for _, name in jobs)
    assert set(made) - jobs <= own_names("demo")


def test_the_operators_names_are_of_each_kind_that_it_makes() -> None:
    assert {kind for kind, _ in own_names("demo")} == CHILDREN.keys() - {"Job"}


@pytest.mark.parametrize(
    ("metadata", "ours", "child"),
    [
        ({"ownerReferences": [_owner()]}, True, True),
        ({"ownerReferences": [_owner(uid="of an earlier one")]}, True, False),
        ({"ownerReferences": [_owner(uid="another", name="other")], "labels": labels("demo", "ingress")}, False, False),
        ({"ownerReferences": [_owner(apiVersion="example.com/v1", uid=UID)]}, False, False),
        ({"ownerReferences": [_owner(controller=False)]}, False, False),
        ({"labels": labels("demo", "ingress")}, False, False),
        ({"managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply"}]}, False, False),
        (
            {
                "labels": labels("demo", "ingress"),
                "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply"}],
            },
            True,
            False,
        ),
        (
            {
                "labels": labels("other", "ingress"),
                "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply"}],
            },
            False,
            False,
        ),
    ],
)
def test_an_object_is_ours_by_its_controller_or_by_who_applied_it(
    metadata: dict[str, Any],
    *,
    ours: bool,
    child: bool,
) -> None:
    raw = _object("demo-ingress", **metadata)
    assert is_ours("Service", raw, name="demo", uid=UID, known=()) is ours
    assert is_child(raw, UID) is child


@pytest.mark.parametrize(
    ("data", "component", "ours"),
    [
        ({"username": "", "password": "", "dsn": "", "owner": ""}, "postgres", True),
        ({"username": "", "password": ""}, "postgres", False),
        ({"secret-key": ""}, "chatserver", True),
        ({"secret-key": ""}, "postgres", False),
        ({}, "ingress", False),
    ],
)
def test_a_retained_secret_is_known_by_its_labels_and_its_keys(
    data: dict[str, str],
    component: Any,
    *,
    ours: bool,
) -> None:
    raw = {**_object("demo-database", labels=labels("demo", component)), "data": data}
    assert is_ours("Secret", raw, name="demo", uid=UID, known=()) is ours
    bare = {**_object("demo-database"), "data": data}
    assert not is_ours("Secret", bare, name="demo", uid=UID, known=())
    assert is_ours("Secret", bare, name="demo", uid=UID, known={"1"}), "status remembers its uid"


def test_what_mounts_a_withheld_object_is_withheld_too() -> None:
    made = render(desired(cluster()))
    left = {(one["kind"], one["metadata"]["name"]) for one in without(made, {("Secret", "demo-chatserver")})}
    gone = {(one["kind"], one["metadata"]["name"]) for one in made} - left
    assert {kind for kind, _ in gone} == {"Secret", "StatefulSet", "Job", "Deployment"}
    assert ("Deployment", "demo-ingress") in left
    assert ("PersistentVolumeClaim", "demo-postgres-data") in left
    mounted = {one["metadata"]["name"]: needs(one) for one in made if one["kind"] == "StatefulSet"}
    assert ("PersistentVolumeClaim", "demo-postgres-data") in mounted["demo-postgres"]


def test_nothing_begins_to_send_to_somebody_elses_service_and_what_runs_is_repaired() -> None:
    taken = {("Service", "demo-postgres"), ("Service", "demo-chatserver")}
    assert unbegun("demo", taken, set()) == {
        ("StatefulSet", "demo-postgres"),
        ("Job", ""),
        ("Deployment", "demo-chatserver"),
        ("Deployment", "demo-ingress"),
    }
    assert unbegun("demo", taken, {("StatefulSet", "demo-postgres"), ("Deployment", "demo-chatserver")}) == set()


def _controlled(kind: str, name: str, **changed: Any) -> dict[str, Any]:
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "name": name, "uid": "1", "controller": True, **changed}


@pytest.mark.parametrize(
    ("component", "owner", "ours"),
    [
        ("chatserver", _controlled("ReplicaSet", "demo-chatserver-5d4f7c9b8"), True),
        ("ingress", _controlled("ReplicaSet", "demo-ingress-5d4f7c9b8"), True),
        ("postgres", _controlled("StatefulSet", "demo-postgres"), True),
        ("migrate", _controlled("Job", "demo-migrate-0123456789"), True),
        ("chatserver", None, False),
        ("chatserver", _controlled("ReplicaSet", "demo-chatserver-5d4f7c9b8", controller=False), False),
        ("chatserver", _controlled("ReplicaSet", "demo-ingress-5d4f7c9b8"), False),
        ("chatserver", _controlled("ReplicaSet", "demo-chatserver-copy-5d4f7c9b8"), False),
        ("chatserver", _controlled("ReplicaSet", "copy-5d4f7c9b8"), False),
        ("chatserver", _controlled("ReplicaSet", "demo-chatserver-1", apiVersion="example.com/v1"), False),
        ("chatserver", _controlled("StatefulSet", "demo-chatserver"), False),
        ("postgres", _controlled("StatefulSet", "demo-postgres-copy"), False),
        ("migrate", _controlled("Job", "copy"), False),
        ("shop", _controlled("Job", "demo-migrate-0123456789"), False),
    ],
)
def test_a_pod_is_ours_by_its_controller_and_never_by_its_labels(
    component: str, owner: dict[str, Any] | None, *, ours: bool
) -> None:
    pod = _object("x", labels={**labels("demo", "ingress"), COMPONENT_LABEL: component}, ownerReferences=[owner])
    if owner is None:
        del pod["metadata"]["ownerReferences"]
    assert is_pod_of(pod, "demo", {}, set()) is ours


def test_pods_of_somebody_elses_workload_are_not_ours_and_of_an_earlier_one_those_that_leave() -> None:
    owner = _controlled("ReplicaSet", "demo-chatserver-5d4f7c9b8")
    server = _object("x", labels=labels("demo", "chatserver"), ownerReferences=[owner])
    assert not is_pod_of(server, "demo", {}, {("Deployment", "demo-chatserver")})
    owner = _controlled("StatefulSet", "demo-postgres")
    database = _object("x", labels=labels("demo", "postgres"), ownerReferences=[owner])
    live = {("StatefulSet", "demo-postgres"): {"metadata": {"uid": "2"}}}
    assert not is_pod_of(database, "demo", live, set())
    database["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert is_pod_of(database, "demo", live, set()), "the new one's pod waits for its name"
