"""What is not a ChatCluster's own is never touched, whatever its name and its labels say."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.kube.kinds import CERTIFICATE, KINDS, ROUTE
from chatoperator.kube.ownership import own_names
from chatoperator.metadata import (
    CREDENTIALS_HASH_ANNOTATION,
    INSTANCE_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    SAFE_TO_EVICT_VOLUMES_ANNOTATION,
)
from chatoperator.observed import Reading
from tests.support.many import Many, identity

if TYPE_CHECKING:
    from chatoperator.metadata import Manifest, ObjectKey
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

HTTP = {"ports": [{"port": 80}], "selector": {"app": "shop"}}
POD = {
    "metadata": {"labels": {"app": "shop"}},
    "spec": {"containers": [{"name": "shop", "image": "shop:1"}]},
}
WORKLOAD = {"selector": {"matchLabels": {"app": "shop"}}, "template": POD}

CONTENTS: dict[str, dict[str, Any]] = {
    "Deployment": {"spec": WORKLOAD},
    "StatefulSet": {"spec": {**WORKLOAD, "serviceName": "shop"}},
    "Service": {"spec": HTTP},
    "ConfigMap": {"data": {"shop.conf": "open"}},
    "Secret": {"data": {"password": "b3BlbiBzZXNhbWU="}},
    "PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "PodDisruptionBudget": {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "shop"}}}},
    "NetworkPolicy": {"spec": {"podSelector": {"matchLabels": {"app": "shop"}}}},
    "ServiceAccount": {},
    "Role": {"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]},
    "RoleBinding": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "shop"}},
    "Ingress": {"spec": {"defaultBackend": {"service": {"name": "shop", "port": {"number": 80}}}}},
}
"""Another application's objects, by kind."""

FRONT = {"hostnames": ["chat.example.com"], "front": {"kind": "Ingress"}}
"""So that an Ingress and its Service are wanted, too."""

OTHER_CONTROLLER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop", "uid": "0-0-0", "controller": True}


def _shops(name: str) -> list[ObjectKey]:
    """What the operator would make for a ChatCluster with these contents."""
    unserved = {("Secret", f"{name}-ingress-issued")}
    return sorted(key for key in own_names(name) - unserved if key[0] not in (CERTIFICATE, ROUTE))


def _shop(key: ObjectKey, metadata: dict[str, Any]) -> Manifest:
    kind, name = key
    where = KINDS[kind]
    version = f"{where.group}/{where.version}" if where.group else where.version
    content = copy.deepcopy(CONTENTS[kind])
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, **content}


async def test_an_object_that_was_there_before_is_left_as_it_is_and_named(many: Many) -> None:
    """Of each kind, without a mark, with copied labels, with another controller, and with the name of a ChatCluster."""
    marks: dict[str, dict[str, Any]] = {
        "bare": {},
        "labelled": {"labels": {MANAGED_BY_LABEL: MANAGED_BY, INSTANCE_LABEL: "labelled"}},
        "controlled": {"ownerReferences": [OTHER_CONTROLLER]},
        "neighbour": {
            "labels": {MANAGED_BY_LABEL: MANAGED_BY, INSTANCE_LABEL: "neighbour"},
            "ownerReferences": [
                {**OTHER_CONTROLLER, "apiVersion": "chatcluster.io/v1alpha1", "kind": "ChatCluster", "name": "other"}
            ],
        },
    }
    shops = {name: [_shop(key, mark) for key in _shops(name)] for name, mark in marks.items()}
    # A claim with the operator's labels and no owner is what Retain leaves: nothing tells it from a copy.
    shops["labelled"] = [shop for shop in shops["labelled"] if shop["kind"] != "PersistentVolumeClaim"]
    before = await asyncio.gather(*(many.make(shop) for some in shops.values() for shop in some))
    for name in marks:
        await many.create(name, ingress=FRONT)
    await many.reconcile(*marks, times=2)
    many.restart()
    await many.reconcile(*marks, times=2)
    after = await asyncio.gather(*(many.get(one["kind"], one["metadata"]["name"]) for one in before))
    assert [identity(one) for one in after] == [identity(one) for one in before]
    for name, some in shops.items():
        status, reason, message = (await many.conditions(name))["Progressing"]
        assert (status, reason) == ("False", "NameTaken"), name
        # The message ends where the API server's bound is.
        named = [shop for shop in some if f"{shop['kind']} {shop['metadata']['name']}" in message]
        assert len(named) >= 5, message
        assert ("Warning", "NameTaken") in {event[:2] for event in await many.events(name)}
    jobs = await many.kube.list("Job", many.namespace)
    assert jobs == [], "nothing runs on what is somebody else's"


async def test_one_taken_name_keeps_only_what_relies_on_it_from_being_made(many: Many) -> None:
    taken: dict[str, ObjectKey] = {
        "secret": ("Secret", "secret-database"),
        "claim": ("PersistentVolumeClaim", "claim-postgres-data"),
        "config": ("ConfigMap", "config-ingress"),
        "service": ("Service", "service-postgres"),
    }
    relying: dict[str, set[ObjectKey]] = {
        "secret": {("StatefulSet", "secret-postgres")},
        "claim": {("StatefulSet", "claim-postgres")},
        "config": {("Deployment", "config-ingress")},
        "service": {("StatefulSet", "service-postgres")},
    }
    for name, key in taken.items():
        await many.make(_shop(key, {}))
        await many.create(name)
    await many.reconcile(*taken, times=2)
    for name, key in taken.items():
        condition = (await many.conditions(name))["Progressing"]
        assert condition[1] == "NameTaken"
        assert f"{key[0]} {key[1]}" in condition[2]
        parts = {("StatefulSet", f"{name}-postgres"), ("Deployment", f"{name}-ingress")}
        made = {part for part in parts if await many.find(*part) is not None}
        assert made == parts - relying[name], name
        await many.delete(*key)
    await many.brought_up(*taken)
    for name in taken:
        assert (await many.conditions(name))["Progressing"][1] != "NameTaken"
        await many.get("Deployment", f"{name}-chatserver")


async def test_only_its_own_objects_of_its_own_names_are_removed(many: Many) -> None:
    """`kubectl expose` copies labels; whoever copies a whole object copies its owner, too."""
    await many.create("web", ingress=FRONT)
    await many.brought_up("web")
    front = await many.get("Service", "web-front")
    labels = front["metadata"]["labels"]
    exposed = await many.make(
        {**_shop(("Service", "web-exposed"), {"labels": labels}), "spec": {**HTTP, "selector": labels}}
    )
    policy = await many.get("NetworkPolicy", "web-postgres")
    owned = {"labels": policy["metadata"]["labels"], "ownerReferences": policy["metadata"]["ownerReferences"]}
    copied = await many.make({**_shop(("NetworkPolicy", "mine"), owned), "spec": policy["spec"]})
    ingress = await many.get("Ingress", "web-front")
    await many.patch("ChatCluster", "web", {"spec": {"ingress": None, "networkPolicies": {"enabled": False}}})
    await many.reconcile("web", times=2)
    for one in (exposed, copied):
        assert identity(await many.get(one["kind"], one["metadata"]["name"])) == identity(one)
    for one in (front, ingress, policy):
        assert await many.find(one["kind"], one["metadata"]["name"]) is None
    removed = [message for _, reason, message in await many.events("web") if reason == "Removed"]
    for name in ("Service web-front", "Ingress web-front", "NetworkPolicy web-postgres"):
        assert any(message.startswith(f"{name}:") for message in removed), removed


async def test_what_lost_its_labels_or_its_owner_is_known_and_put_right(many: Many) -> None:
    """By its controller, or by who applied it: nothing is made in its place, and nothing is refused."""
    names = ("unlabelled", "disowned")
    for name in names:
        await many.create(name)
    await many.brought_up(*names)
    kinds = ("Deployment", "StatefulSet", "Service", "ConfigMap", "Secret", "PodDisruptionBudget", "NetworkPolicy")
    owned = [
        {**one, "kind": kind}
        for kind in kinds
        for one in await many.kube.list(kind, many.namespace)
        if "ownerReferences" in one["metadata"]
    ]
    for one in owned:
        loses = "labels" if one["metadata"]["labels"][INSTANCE_LABEL] == "unlabelled" else "ownerReferences"
        await many.patch(one["kind"], one["metadata"]["name"], {"metadata": {loses: None}})
    many.restart()
    await many.reconcile(*names, times=2)
    for one in owned:
        after = await many.get(one["kind"], one["metadata"]["name"])
        assert after["metadata"]["uid"] == one["metadata"]["uid"]
        assert after["metadata"]["labels"] == one["metadata"]["labels"]
        assert after["metadata"]["ownerReferences"] == one["metadata"]["ownerReferences"]
    for name in names:
        assert (await many.conditions(name))["Progressing"][1] not in ("NameTaken", "ApplyFailed")


async def test_a_pod_with_copied_labels_is_no_server_and_is_not_touched(operator: Operator) -> None:
    await operator.brought_up()
    operator.pod("demo-chatserver-a")
    strangers: dict[str, list[dict[str, Any]]] = {"bare": [], "controlled": [OTHER_CONTROLLER]}
    for name, owners in strangers.items():
        operator.pod(name, owners=owners)
    operator.prober.connections = {
        name: Reading(connections, draining=False)
        for name, connections in (("demo-chatserver-a", 3), ("bare", 500), ("controlled", 500))
    }
    await operator.reconcile(2)
    assert (await operator.status())["connections"] == 3
    touched = (await operator.get("Pod", "demo-chatserver-a"))["metadata"]["annotations"]
    assert touched.keys() >= {CREDENTIALS_HASH_ANNOTATION, SAFE_TO_EVICT_VOLUMES_ANNOTATION}
    for name in strangers:
        assert "annotations" not in (await operator.get("Pod", name))["metadata"]
