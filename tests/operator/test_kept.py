"""What the cache keeps: what a chat can own, what is read of it, and no more than there is room for."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from chatoperator.kube.decoding import BYTES_MAX, UNREADABLE, decode, encode
from chatoperator.kube.kept import kept, stranger
from chatoperator.kube.memory import CHATCLUSTER_BYTES_MAX, ENTRY_BYTES
from chatoperator.kube.objects import pod as read_pod
from chatoperator.kube.ownership import own_names
from chatoperator.kube.store import LEFT_OUT_MAX, Store
from chatoperator.metadata import COMPONENT_LABEL, INSTANCE_LABEL, KIND, MANAGED_BY, MANAGED_BY_LABEL

SECRETS, CONFIG_MAPS, JOBS, CHATCLUSTERS = (("Secret", None), ("ConfigMap", None), ("Job", None), (KIND, None))
MIB = 1024 * 1024
_versions = itertools.count(1)


def made(name: str, instance: str, namespace: str = "chat", size: int = 0, **metadata: Any) -> dict[str, Any]:
    labels = {INSTANCE_LABEL: instance, MANAGED_BY_LABEL: MANAGED_BY}
    body = {"namespace": namespace, "name": name, "resourceVersion": str(next(_versions)), "labels": labels, **metadata}
    return {"metadata": body, "data": {"junk": "x" * size}}


def chatcluster(name: str, namespace: str = "chat") -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "resourceVersion": str(next(_versions)), "annotations": {}}
    return {"metadata": metadata, "spec": {}}


OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "demo-chatserver-5d4f", "uid": "1", "controller": True}


def pod(**status: Any) -> dict[str, Any]:
    raw = made("demo-chatserver-5d4f-x", "demo", ownerReferences=[OWNER])
    raw["metadata"]["labels"][COMPONENT_LABEL] = "chatserver"
    return {**raw, "status": status, "spec": {"nodeName": "node-1", "containers": [{"name": "x" * 1000}]}}


def test_everything_that_the_operator_makes_is_kept() -> None:
    names = own_names("demo")
    assert [key for key in names if kept(key[0], made(key[1], "demo")) is None] == []
    assert kept("Job", made("demo-migrate-0123456789", "demo")) is not None


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("Secret", made("filler-1", "demo")),
        ("Secret", made("demo-database", "other")),
        ("ConfigMap", made("demo-database", "demo")),
        ("Job", made("demo-work", "demo")),
        ("Service", made("demo-ingress", "")),
        ("Pod", made("demo-chatserver-5d4f-x", "demo")),
        ("Pod", {**pod(), "metadata": {**pod()["metadata"], "ownerReferences": [{**OWNER, "name": "web-5d4f"}]}}),
        ("Pod", {**pod(), "metadata": {**pod()["metadata"], "ownerReferences": [{**OWNER, "controller": False}]}}),
    ],
)
def test_what_only_has_the_label_takes_no_memory(kind: str, raw: dict[str, Any]) -> None:
    assert kept(kind, raw) is None


def test_a_pod_keeps_what_is_read_of_it_however_large_the_rest_is() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "m" * 100_000}
    died = {"exitCode": 137, "reason": "OOMKilled", "containerID": "c" * 1000}
    statuses = [
        {"name": "chatserver", "ready": False, "started": True, "state": {"waiting": waiting}, "image": "i" * 1000},
        {
            "name": "sidecar",
            "ready": True,
            "started": True,
            "lastState": {"terminated": died},
            "state": {"running": {}},
        },
        *({"name": f"more-{number}", "started": True} for number in range(500)),
    ]
    conditions = [{"type": "Ready", "status": "True", "message": "m" * 100_000}] * 100
    raw = pod(podIP="10.0.0.1", hostIP="10.0.0.2", phase="Running", containerStatuses=statuses, conditions=conditions)
    raw["metadata"]["annotations"] = {f"junk-{number}": "x" * 1000 for number in range(200)}
    raw["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = "7"
    reduced = kept("Pod", raw)
    assert reduced is not None
    assert len(encode(reduced)) < 96 * 1024
    whole, part = read_pod(raw), read_pod(reduced)
    assert part.trouble == f"container chatserver: ImagePullBackOff: {'m' * 2000}"
    assert {**whole.__dict__, "trouble": ""} == {**part.__dict__, "trouble": ""}


def test_of_a_strangers_object_only_whose_it_is_is_kept() -> None:
    raw = made("demo-database", "demo", size=MIB, managedFields=[{"manager": "helm", "fieldsV1": {"f:x": {}}}] * 100)
    assert stranger(raw)["metadata"]["managedFields"] == [{"manager": "helm"}]
    assert len(encode(stranger(raw))) < 1000


def test_the_large_objects_of_one_chat_leave_room_for_the_small_ones() -> None:
    store = Store(100 * MIB)
    for number in range(9):
        store.listed(JOBS, [made(f"demo-migrate-{number:010}", "demo", size=900_000)])
    store.listed(CONFIG_MAPS, [made("demo-ingress", "demo", size=60_000)])
    held = store.owned(("chat", "demo"))
    assert len(held) == 10
    assert UNREADABLE not in held["ConfigMap", "demo-ingress"]
    cut = [raw[UNREADABLE] for raw in held.values() if UNREADABLE in raw]
    assert set(cut) == {"data.junk makes the objects of ChatCluster demo exceed 3 MiB together"}
    assert len(cut) == 6
    assert store.bytes_taken <= CHATCLUSTER_BYTES_MAX


def _crowd(store: Store, chats: int, size: int, namespace: str = "crowd") -> None:
    for number in range(chats):
        store.listed(SECRETS, [made(f"x{number}-database", f"x{number}", namespace, size)])


def test_a_namespace_that_fills_the_memory_gives_room_to_all_others() -> None:
    store = Store(16 * MIB)
    store.listed(CHATCLUSTERS, [chatcluster("demo"), chatcluster("busy", "crowd")])
    store.listed(SECRETS, [made("demo-database", "demo", size=50_000)])
    _crowd(store, 60, 900_000)
    assert store.bytes_taken <= 16 * MIB
    assert UNREADABLE not in store.owned(("chat", "demo"))["Secret", "demo-database"]
    assert store.without_room().keys() == {"crowd"}
    held = [raw for number in range(60) for raw in store.owned(("crowd", f"x{number}")).values()]
    cut = [raw[UNREADABLE] for raw in held if UNREADABLE in raw]
    assert len(held) == 60
    assert set(cut) == {"data.junk is among the objects of namespace crowd, which use 16 MiB together"}
    # Others that come later are kept whole.
    store.listed(SECRETS, [made("late-database", "late", "later", 900_000)])
    assert UNREADABLE not in store.owned(("later", "late"))["Secret", "late-database"]
    assert store.chatclusters() == [("chat", "demo"), ("crowd", "busy")]


def test_a_great_many_small_objects_are_left_out_and_counted() -> None:
    store = Store(MIB)
    store.listed(CHATCLUSTERS, [chatcluster("demo")])
    _crowd(store, 2_000, 10)
    assert store.bytes_taken <= MIB
    assert store.without_room()["crowd"] > 500
    store.listed(SECRETS, [made("demo-database", "demo", size=20_000)])
    assert ("Secret", "demo-database") in store.owned(("chat", "demo"))
    _crowd(store, LEFT_OUT_MAX + 2_000, 10)
    assert store.without_room()["crowd"] == LEFT_OUT_MAX


def test_what_there_was_no_room_for_is_listed_anew_once_there_is() -> None:
    store, raws = Store(16 * MIB), [made(f"x{n}-database", f"x{n}", "crowd", 900_000) for n in range(20)]
    store.listed(SECRETS, raws)
    store.complete(SECRETS, str(next(_versions)))
    assert store.without_room() == {"crowd": 3}
    assert not store.has_room_again(SECRETS)
    for raw in raws[:10]:
        store.apply_event(
            SECRETS, "DELETED", {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(next(_versions))}}
        )
    assert store.has_room_again(SECRETS)
    assert not store.has_room_again(CONFIG_MAPS)
    woken = store.listed(SECRETS, raws[10:])
    assert len(woken) == 3
    assert store.without_room() == {}
    assert not any(UNREADABLE in store.owned(("crowd", f"x{n}"))["Secret", f"x{n}-database"] for n in range(10, 20))
    assert not store.has_room_again(SECRETS)


def test_counts_go_back_to_nothing() -> None:
    store = Store(4 * MIB)
    _crowd(store, 20, 900_000)
    store.complete(SECRETS, str(next(_versions)))
    store.drop(SECRETS)
    assert (store.bytes_taken, len(store), store.without_room()) == (0, 0, {})


def test_no_excerpt_is_large_whatever_its_object_brings() -> None:
    raw = made("demo-database", "demo", size=2 * BYTES_MAX, ownerReferences=[{"kind": "x" * 1000}] * 500)
    raw["metadata"]["labels"] |= {f"l{number}": "x" * 60 for number in range(5_000)}
    raw["status"] = {"message": "x" * 500_000}
    text = encode(raw)
    assert len(text) < ENTRY_BYTES
    assert decode(text)["metadata"]["labels"] == {INSTANCE_LABEL: "demo", MANAGED_BY_LABEL: MANAGED_BY}
