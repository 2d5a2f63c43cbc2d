"""Conditions and figures: what they say, and when their times move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chatoperator.events import event, turned
from chatoperator.observed import Answer, Observed, Pod
from chatoperator.status import Condition, Facts, conditions, https_port, merge, transitions, url
from tests.support.chatclusters import body, cluster

LATER, SOONER = "2026-11-22T12:00:00Z", "2026-11-22T11:00:00Z"


def workload(name: str, ready: int, wanted: int) -> dict[str, Any]:
    counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready, "observedGeneration": 1}
    return {"metadata": {"name": name, "generation": 1}, "spec": {"replicas": wanted}, "status": counts}


def running(*, postgres: int = 1, servers: int = 2, ingress: int = 2) -> Observed:
    return Observed(
        children={
            ("StatefulSet", "demo-postgres"): workload("demo-postgres", postgres, 1),
            ("Deployment", "demo-chatserver"): workload("demo-chatserver", servers, 2),
            ("Deployment", "demo-ingress"): workload("demo-ingress", ingress, 2),
        },
        pods=(),
    )


def facts(observed: Observed, *, ok: bool = True, **changed: Any) -> Facts:
    made = Facts(
        name="demo",
        uid="0000-demo",
        cluster=cluster(),
        observed=observed,
        answer=Answer(ok=ok, message="answered" if ok else "A request failed"),
        migrated=True,
        migrate_job_name="demo-migrate-1",
    )
    return replace(made, **changed)


def by_type(made: tuple[Condition, ...]) -> dict[str, Condition]:
    return {condition.type: condition for condition in made}


def test_all_is_well() -> None:
    made = by_type(conditions(facts(running())))
    for kind in ("Ready", "DatabaseReady", "ChatserverReady", "IngressReady"):
        assert made[kind].status == "True"
    assert (made["Progressing"].status, made["Progressing"].reason) == ("False", "Settled")
    assert made["DevelopmentCodes"].status == "True"


def test_ready_is_what_the_ingress_answers_and_not_what_pods_claim() -> None:
    made = by_type(conditions(facts(running(), ok=False)))
    assert made["ChatserverReady"].status == "True"
    assert made["Ready"].status == "False"
    assert made["Ready"].reason == "NotAnswering"


def test_ready_says_which_part_is_broken_and_why() -> None:
    broken = Pod(
        name="demo-postgres-0",
        component="postgres",
        address=None,
        host_address=None,
        ready=False,
        started=False,
        terminating=False,
        trouble="ImagePullBackOff: no such image",
        deletion_cost=None,
        credentials_digest=None,
    )
    made = by_type(conditions(facts(replace(running(postgres=0), pods=(broken,)), ok=False)))
    assert made["Ready"].reason == "NotReady"
    assert "ImagePullBackOff: no such image" in made["Ready"].message
    assert made["DatabaseReady"].status == "False"


def test_a_chat_that_answers_with_a_server_missing_is_ready() -> None:
    made = by_type(conditions(facts(running(servers=1))))
    assert made["Ready"].status == "True"
    assert (made["ChatserverReady"].status, made["ChatserverReady"].reason) == ("False", "PartlyReady")


@pytest.mark.parametrize(
    ("changed", "status", "reason"),
    [
        ({"spec_error": "spec.x: y"}, "False", "InvalidSpec"),
        ({"failure": "refused"}, "False", "ApplyFailed"),
        ({"cluster": cluster(paused=True)}, "False", "Paused"),
        ({"migrated": False}, "True", "Migrating"),
    ],
)
def test_progressing_says_what_holds_things_up(changed: dict[str, Any], status: str, reason: str) -> None:
    made = by_type(conditions(facts(running(), **changed)))["Progressing"]
    assert (made.status, made.reason) == (status, reason)


def test_a_failed_migration_is_told_with_the_place_to_look() -> None:
    failed = {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    observed = replace(running(), children={**running().children, ("Job", "demo-migrate-1"): failed})
    made = by_type(conditions(facts(observed, migrated=False)))["Progressing"]
    assert (made.status, made.reason) == ("False", "MigrationFailed")
    assert "kubectl logs job/demo-migrate-1" in made.message


def test_times_move_only_when_a_status_does() -> None:
    first = merge([], [Condition("Ready", "False", "A", "a")], generation=1, now=SOONER)
    same = merge(first, [Condition("Ready", "False", "B", "b")], generation=2, now=LATER)
    assert same[0]["lastTransitionTime"] == SOONER
    assert (same[0]["reason"], same[0]["observedGeneration"]) == ("B", 2)
    turned = merge(same, [Condition("Ready", "True", "C", "c")], generation=2, now=LATER)
    assert turned[0]["lastTransitionTime"] == LATER


def test_conditions_that_a_wrong_spec_hides_stay_as_they_were() -> None:
    before = merge([], [Condition("ScalingActive", "True", "A", "a")], generation=1, now=SOONER)
    after = merge(before, [Condition("Ready", "True", "B", "b")], generation=2, now=LATER)
    assert [condition["type"] for condition in after] == ["Ready", "ScalingActive"]
    assert after[1] == before[0]


def test_an_event_for_each_turn_and_for_nothing_else() -> None:
    before = merge([], [Condition("Ready", "False", "A", "a")], generation=1, now=SOONER)
    worded = merge(before, [Condition("Ready", "False", "A", "other words")], generation=1, now=LATER)
    assert transitions(before, worded) == []
    after = merge(before, [Condition("Ready", "True", "B", "b")], generation=1, now=LATER)
    (turn,) = transitions(before, after)
    made = event(body(), turned(turn), pod_name="operator-0", now=LATER, suffix="1")
    assert (made["type"], made["reason"], made["message"]) == ("Normal", "B", "Ready is True: b")
    (bad,) = transitions(after, before)
    assert event(body(), turned(bad), pod_name="operator-0", now=LATER, suffix="1")["type"] == "Warning"


def service(kind: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "https", "port": 443, "nodePort": 30443}, {"name": "http", "port": 80, "nodePort": 30080}]
    return {"metadata": {"name": "demo-ingress"}, "spec": {"type": kind, "ports": ports, **spec}}


@pytest.mark.parametrize(
    ("kind", "hostnames", "wanted"),
    [
        ("ClusterIP", [], "https://demo-ingress.chat.svc/"),
        ("ClusterIP", ["chat.example.com", "other.example.com"], "https://chat.example.com/"),
        ("NodePort", ["localhost"], "https://localhost:30443/"),
        ("NodePort", [], "https://192.0.2.7:30443/"),
        ("LoadBalancer", [], None),
        ("LoadBalancer", ["chat.example.com"], "https://chat.example.com/"),
    ],
)
def test_the_url_is_where_people_reach_the_chat(kind: str, hostnames: list[str], wanted: str | None) -> None:
    node = Pod("demo-ingress-1", "ingress", "10.0.0.1", "192.0.2.7", True, True, False, None, None, None)  # noqa: FBT003
    made = cluster(ingress={"hostnames": hostnames, "service": {"type": kind}})
    assert url(made, service(kind), (node,)) == wanted


def test_the_load_balancers_own_address_is_used() -> None:
    made = cluster(ingress={"service": {"type": "LoadBalancer"}})
    given = {**service("LoadBalancer"), "status": {"loadBalancer": {"ingress": [{"ip": "2001:db8::1"}]}}}
    assert url(made, given, ()) == "https://[2001:db8::1]/"


def test_a_node_port_that_is_not_given_out_yet_is_unknown() -> None:
    assert https_port({"spec": {"type": "NodePort", "ports": [{"name": "https", "port": 443}]}}) is None
    assert https_port(None) is None
