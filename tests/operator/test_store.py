"""The cache without its I/O: nothing older in place of anything newer, nothing gone that is there, no wake lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatoperator.kube.store import Store
from chatoperator.metadata import COMPONENT_LABEL, INSTANCE_LABEL, KIND, MANAGED_BY, MANAGED_BY_LABEL

DEMO = ("chat", "demo")
POD = ("Pod", "demo-ingress-x")
SERVICES, PODS, CHATCLUSTERS = ("Service", None), ("Pod", None), (KIND, None)


def made(
    name: str, version: int, *, namespace: str = "chat", instance: str = "demo", managed: bool = True, **fields: Any
) -> dict[str, Any]:
    labels = {INSTANCE_LABEL: instance, **({MANAGED_BY_LABEL: MANAGED_BY} if managed else {})}
    metadata = {
        "namespace": namespace,
        "name": name,
        "resourceVersion": str(version),
        "labels": labels,
        "managedFields": [{"manager": "kubectl"}],
    }
    return {"metadata": metadata, **fields}


def pod(name: str, version: int, **fields: Any) -> dict[str, Any]:
    """One of HAProxy's."""
    raw = made(name, version, **fields)
    raw["metadata"]["labels"][COMPONENT_LABEL] = "ingress"
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "demo-ingress-5d4f", "uid": "1", "controller": True}
    raw["metadata"]["ownerReferences"] = [owner]
    return raw


def test_a_kind_that_the_cluster_no_longer_has_leaves_nothing_behind() -> None:
    store = filled()
    assert store.drop(PODS) == {DEMO}
    assert set(store.owned(DEMO)) == {("Service", "demo-ingress")}
    assert store.drop(PODS) == set()
    # What comes when it is back counts, however old.
    store.listed(PODS, [pod("demo-ingress-x", 6)])
    assert POD in store.owned(DEMO)


def filled() -> Store:
    """A Service and a pod, as listed at 10."""
    store = Store()
    store.listed(SERVICES, [made("demo-ingress", 5, spec={"clusterIP": "10.0.0.1"})])
    store.complete(SERVICES, "10")
    store.listed(
        PODS, [pod("demo-ingress-x", 6, status={"podIP": "192.0.2.1"}, spec={"nodeName": "node-1", "containers": []})]
    )
    store.complete(PODS, "10")
    return store


def test_a_chatcluster_sees_its_own_children_with_their_kind_and_without_who_wrote_them() -> None:
    store = filled()
    store.apply_event(SERVICES, "ADDED", made("other-ingress", 11, instance="other"))
    assert store.owned(DEMO).keys() == {("Service", "demo-ingress"), POD}
    service = store.owned(DEMO)["Service", "demo-ingress"]
    assert service["kind"] == "Service"
    assert service["spec"] == {"clusterIP": "10.0.0.1"}
    assert "managedFields" not in service["metadata"]
    kept = store.owned(DEMO)[POD]
    assert (kept["status"]["podIP"], kept["spec"]) == ("192.0.2.1", {"nodeName": "node-1"})
    assert store.owned(("chat", "none")) == {}


def test_what_was_written_is_read_before_a_watch_tells_of_it_and_its_echo_wakes_nobody() -> None:
    store = filled()
    store.note(SERVICES, {"kind": "Service", **made("demo-ingress", 12, spec={"clusterIP": "10.0.0.2"})})
    assert store.owned(DEMO)["Service", "demo-ingress"]["spec"] == {"clusterIP": "10.0.0.2"}
    assert store.apply_event(SERVICES, "MODIFIED", made("demo-ingress", 12)) == set()


def test_a_change_that_came_just_before_the_own_one_still_wakes() -> None:
    store = filled()
    store.note(SERVICES, made("demo-ingress", 12))
    assert store.apply_event(SERVICES, "MODIFIED", made("demo-ingress", 11)) == {DEMO}
    assert store.owned(DEMO)["Service", "demo-ingress"]["metadata"]["resourceVersion"] == "12"


def test_an_answer_that_a_watch_has_passed_brings_nothing_back() -> None:
    store = filled()
    store.apply_event(SERVICES, "ADDED", made("demo-postgres", 20))
    store.apply_event(SERVICES, "DELETED", made("demo-postgres", 21))
    store.note(SERVICES, made("demo-postgres", 20))
    assert store.owned(DEMO).keys() == {("Service", "demo-ingress"), POD}


def test_a_list_takes_away_what_it_lacks_but_not_what_was_made_after_it() -> None:
    store = filled()
    store.note(SERVICES, made("demo-postgres", 31))
    assert store.listed(SERVICES, []) == set()
    assert store.complete(SERVICES, "30") == {DEMO}
    assert store.owned(DEMO).keys() == {("Service", "demo-postgres"), POD}


def test_a_list_that_broke_off_takes_nothing_away() -> None:
    store = filled()
    store.listed(SERVICES, [made("demo-postgres", 11)])
    store.abandon(SERVICES)
    store.listed(SERVICES, [made("demo-ingress", 5)])
    assert store.complete(SERVICES, "10") == set()
    assert store.owned(DEMO).keys() == {("Service", "demo-ingress"), ("Service", "demo-postgres"), POD}


def test_the_list_of_one_namespace_takes_nothing_from_another_and_is_not_past_its_answers() -> None:
    store, here, there = Store(), ("Service", "chat"), ("Service", "support")
    store.listed(here, [made("demo-ingress", 5)])
    store.listed(there, [made("demo-ingress", 6, namespace="support")])
    store.complete(here, "10")
    assert store.complete(there, "40") == set()
    assert store.owned(DEMO).keys() == store.owned(("support", "demo")).keys() == {("Service", "demo-ingress")}
    store.note(here, made("demo-ingress", 20, spec={"new": True}))
    assert store.owned(DEMO)["Service", "demo-ingress"]["spec"] == {"new": True}
    store.listed(there, [])
    assert store.complete(there, "50") == {("support", "demo")}
    assert store.owned(DEMO).keys() == {("Service", "demo-ingress")}


def test_an_object_that_changes_hands_wakes_both() -> None:
    store, jobs, name = Store(), ("Job", None), "demo-migrate-x-migrate-0123456789"
    store.listed(jobs, [made(name, 5)])
    other = ("chat", "demo-migrate-x")
    assert store.apply_event(jobs, "MODIFIED", made(name, 13, instance=other[1])) == {DEMO, other}
    assert store.owned(DEMO) == {}
    assert store.owned(other).keys() == {("Job", name)}


def test_an_object_that_is_no_longer_a_chats_own_wakes_whose_it_was() -> None:
    store = filled()
    assert store.apply_event(SERVICES, "MODIFIED", made("demo-ingress", 13, instance="other")) == {DEMO}
    assert store.owned(DEMO).keys() == {POD}
    assert len(store) == 1


def test_what_lost_its_label_is_not_kept_from_an_answer() -> None:
    store = filled()
    store.note(("Secret", None), made("demo-database", 14, managed=False))
    assert store.owned(DEMO).keys() == {("Service", "demo-ingress"), POD}


def test_a_bookmark_is_no_object() -> None:
    store = filled()
    assert store.apply_event(SERVICES, "BOOKMARK", {"metadata": {"resourceVersion": "99"}}) == set()
    assert len(store) == 2


def test_chatclusters_are_no_children_of_their_own() -> None:
    store = Store()
    assert store.apply_event(
        CHATCLUSTERS, "ADDED", {"metadata": {"namespace": "chat", "name": "demo", "resourceVersion": "1"}}
    ) == {DEMO}
    assert store.chatclusters() == [DEMO]
    assert store.owned(DEMO) == {}
    body = store.chatcluster(DEMO)
    assert body is not None
    assert body["kind"] == KIND
    store.apply_event(
        CHATCLUSTERS, "DELETED", {"metadata": {"namespace": "chat", "name": "demo", "resourceVersion": "2"}}
    )
    assert store.chatcluster(DEMO) is None


HISTORY = st.lists(
    st.tuples(st.sampled_from(("demo-ingress", "demo-chatserver", "demo-postgres")), st.booleans()),
    min_size=1,
    max_size=25,
)
"""(object, whether it exists afterwards), one change after the other."""


@given(history=HISTORY, data=st.data())
def test_however_lists_watches_and_answers_interleave_the_end_is_what_the_api_server_has(
    history: list[tuple[str, bool]], data: st.DataObject
) -> None:
    """A watch that is cut and begun anew from where it was, answers that are late, and lists in between."""
    store, live = Store(), dict[str, int]()
    news = []
    for version, (name, exists) in enumerate(history, start=1):
        if exists:
            news.append(("MODIFIED" if name in live else "ADDED", made(name, version)))
            live[name] = version
        elif live.pop(name, None) is not None:
            news.append(("DELETED", made(name, version)))
    store.complete(SERVICES, "0")
    position = 0
    while position < len(news):
        match data.draw(st.sampled_from(("told", "told", "cut", "note", "list"))):
            case "told":
                store.apply_event(SERVICES, *news[position])
                position += 1
            case "cut":
                position = data.draw(st.integers(0, position))
            case "note":
                # Of what is there at that moment, or was a little before.
                kind, raw = news[data.draw(st.integers(0, position))]
                if kind != "DELETED":
                    store.note(SERVICES, raw)
            case "list":
                position = data.draw(st.integers(position, len(news)))
                there = {}
                for kind, raw in news[:position]:
                    there[raw["metadata"]["name"]] = None if kind == "DELETED" else raw
                store.listed(SERVICES, [raw for raw in there.values() if raw])
                at = news[position - 1][1]["metadata"]["resourceVersion"] if position else "0"
                store.complete(SERVICES, str(at))
    found = {name: int(raw["metadata"]["resourceVersion"]) for (_, name), raw in store.owned(DEMO).items()}
    assert found == live
