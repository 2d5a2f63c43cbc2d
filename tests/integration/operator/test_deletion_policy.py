"""What a deletion takes along is what the policy says, whatever else is wrong; with Kubernetes' own collector."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatoperator.metadata import KIND
from tests.support.cluster import until

if TYPE_CHECKING:
    from chatoperator.metadata import Manifest
    from tests.support.apiserver import ApiServer
    from tests.support.many import Many

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60

RETAINED = (("PersistentVolumeClaim", "postgres-data"), ("Secret", "database"), ("Secret", "chatserver"))

TROUBLES: dict[str, Manifest] = {
    "well": {},
    "paused": {"paused": True},
    # Each of these got past the API server's schema, as after an upgrade of the operator.
    "invalid": {"database": {"parameters": {"listen_addresses": "localhost"}}},
    # An API server without Kubernetes' feature for comparing taints refuses it.
    "failing": {
        "chatserver": {"podTemplate": {"tolerations": [{"key": "example.com/size", "operator": "Gt", "value": "5"}]}}
    },
}


async def test_ownership_follows_the_policy_whatever_else_is_wrong(many: Many, server: ApiServer) -> None:
    """In both directions: paused, wrong elsewhere, with an object that is refused, without labels."""
    flips = {"retain": ("Delete", "Retain"), "delete": ("Retain", "Delete")}
    names = {f"{trouble}-{flip}": (trouble, *flips[flip]) for trouble in TROUBLES for flip in flips}
    names["unlabelled-retain"] = ("paused", "Delete", "Retain")
    for name, (_, before, _) in names.items():
        await many.create(name, deletionPolicy=before)
    await many.brought_up(*names)
    for name, (trouble, before, _) in names.items():
        assert (await many.get(KIND, name))["status"]["deletionPolicy"] == before
        await many.patch(KIND, name, {"spec": TROUBLES[trouble]})
        if name.startswith("unlabelled"):
            for kind, end in RETAINED:
                await many.patch(kind, f"{name}-{end}", {"metadata": {"labels": None}})
    # Trouble first: the policy changes where nothing else can be done.
    await many.reconcile(*names)
    many.restart()
    for name, (_, _, after) in names.items():
        await many.patch(KIND, name, {"spec": {"deletionPolicy": after}})
    await many.reconcile(*names)
    for name, (_, _, after) in names.items():
        chat = await many.get(KIND, name)
        # What `kubectl wait --for=jsonpath={.status.deletionPolicy}=...` waits for before a deletion.
        assert chat["status"]["deletionPolicy"] == after, name
        for kind, end in RETAINED:
            owners = (await many.get(kind, f"{name}-{end}"))["metadata"].get("ownerReferences") or []
            assert [owner["uid"] for owner in owners] == ([chat["metadata"]["uid"]] if after == "Delete" else []), name
    for name in names:
        await many.delete(KIND, name)
    wanted = {name for name, (_, _, after) in names.items() if after == "Retain"}

    async def left(kind: str, end: str) -> set[str]:
        found = await many.kube.list(kind, many.namespace)
        there = {one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]}
        return {name for name in names if f"{name}-{end}" in there}

    async def collected() -> bool:
        rest = await asyncio.gather(left("Service", "ingress"), *(left(*one) for one in RETAINED))
        return rest == [set(), wanted, wanted, wanted]

    with server.controllers("garbage-collector-controller"):
        await until(collected, "just what the policy keeps is left", PATIENCE_SECONDS, poll_seconds=0.3)


async def test_a_chatcluster_that_is_going_still_lets_go_of_what_its_policy_keeps(many: Many) -> None:
    await many.create("web", deletionPolicy="Delete")
    await many.brought_up("web")
    await many.patch(
        KIND, "web", {"metadata": {"finalizers": ["example.com/hold"]}, "spec": {"deletionPolicy": "Retain"}}
    )
    await many.kube.delete(KIND, await many.get(KIND, "web"))
    await many.reconcile("web")
    for kind, end in RETAINED:
        assert not (await many.get(kind, f"web-{end}"))["metadata"].get("ownerReferences")
    await many.patch(KIND, "web", {"metadata": {"finalizers": None}})


async def test_another_owner_of_what_is_kept_is_left_to_whoever_named_it(many: Many) -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": "0-0-0"}
    await many.create("web", deletionPolicy="Delete")
    await many.brought_up("web")
    owner = (await many.get("Secret", "web-database"))["metadata"]["ownerReferences"][0]
    await many.patch("Secret", "web-database", {"metadata": {"ownerReferences": [owner, other]}})
    await many.patch(KIND, "web", {"spec": {"deletionPolicy": "Retain"}})
    await many.reconcile("web", times=2)
    assert (await many.get("Secret", "web-database"))["metadata"]["ownerReferences"] == [other]
