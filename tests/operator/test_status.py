"""Figures, and when conditions count as changed and deserve an Event."""

from __future__ import annotations

from typing import Any

import pytest

from chatoperator.conditions.declared import Condition
from chatoperator.parts.ingress.address import https_port
from chatoperator.reporting.events import BURST, Allowance, event, turned
from chatoperator.reporting.status import deserves_event, merge, transitions, url
from tests.support.chatclusters import body, cluster, pod

LATER, SOONER = "2026-11-22T12:00:00Z", "2026-11-22T11:00:00Z"


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


def test_a_condition_whose_subject_the_spec_no_longer_has_is_dropped() -> None:
    before = merge([], [Condition("BackedUp", "True", "A", "a")], generation=1, now=SOONER)
    after = merge(before, [Condition("Ready", "True", "B", "b")], generation=2, now=LATER, ended={"BackedUp"})
    assert [condition["type"] for condition in after] == ["Ready"]
    kept = merge(before, [Condition("BackedUp", "False", "C", "c")], generation=2, now=LATER, ended={"BackedUp"})
    assert [condition["reason"] for condition in kept] == ["C"]


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
    node = pod("demo-ingress-1", "ingress", address="10.0.0.1", host_address="192.0.2.7")
    made = cluster(ingress={"hostnames": hostnames, "service": {"type": kind}})
    assert url(made, service(kind), (node,)) == wanted


def test_the_load_balancers_own_address_is_used() -> None:
    made = cluster(ingress={"service": {"type": "LoadBalancer"}})
    given = {**service("LoadBalancer"), "status": {"loadBalancer": {"ingress": [{"ip": "2001:db8::1"}]}}}
    assert url(made, given, ()) == "https://[2001:db8::1]/"


def test_a_node_port_that_is_not_given_out_yet_is_unknown() -> None:
    assert https_port({"spec": {"type": "NodePort", "ports": [{"name": "https", "port": 443}]}}) is None
    assert https_port(None) is None


def test_a_new_chatcluster_tells_what_is_and_not_all_that_is_not() -> None:
    new = [
        Condition("Ready", "False", "Missing", "m"),
        Condition("DatabaseReady", "False", "SecretMissing", "m"),
        Condition("ScalingLimited", "True", "AtMinimum", "m"),
        Condition("Paused", "False", "NotPaused", "m"),
        Condition("ScalingActive", "Unknown", "Starting", "m"),
        Condition("DevelopmentCodes", "True", "SenderLog", "m"),
        Condition("Progressing", "False", "InvalidSpec", "m"),
    ]
    made = merge([], new, generation=1, now=SOONER)
    assert [c["type"] for c in made if deserves_event(c, [])] == ["DatabaseReady", "DevelopmentCodes", "Progressing"]
    paused = merge(made, [Condition("Paused", "True", "Paused", "m")], generation=1, now=LATER)[0]
    assert deserves_event(paused, made)
    assert deserves_event({**paused, "status": "False"}, [paused])


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        pytest.param(("Ready", "False", "NotReady"), ("Ready", "False", "PartlyReady"), False, id="a step"),
        pytest.param(("Ready", "False", "NotAnswering"), ("Ready", "True", "Answering"), True, id="well again"),
        pytest.param(
            ("Ready", "False", "NotReady"), ("Ready", "False", "CertificateExpired"), True, id="needs somebody"
        ),
        pytest.param(
            ("ScalingLimited", "True", "AtMinimum"), ("ScalingLimited", "False", "WithinBounds"), False, id="load"
        ),
        pytest.param(
            ("ScalingLimited", "False", "WithinBounds"), ("ScalingLimited", "True", "TooFewServers"), True, id="!"
        ),
        pytest.param(
            ("ScalingLimited", "True", "TooFewServers"), ("ScalingLimited", "False", "WithinBounds"), True, id=":"
        ),
        pytest.param(
            ("Progressing", "True", "Migrating"), ("Progressing", "True", "Rolling"), True, id="the next chapter"
        ),
        pytest.param(("Progressing", "True", "Rolling"), ("Progressing", "True", "RolloutFailing"), True, id="stuck"),
    ],
)
def test_steps_are_no_news_and_what_needs_somebody_is(
    was: tuple[str, Any, str], now: tuple[str, Any, str], *, told: bool
) -> None:
    before = merge([], [Condition(*was, "m")], generation=1, now=SOONER)
    (after,) = merge(before, [Condition(*now, "m")], generation=1, now=LATER)
    assert deserves_event(after, before) is told


def test_a_mode_that_somebody_chose_is_no_warning() -> None:
    for reason, warning in (("External", False), ("Paused", False), ("NoReadings", True)):
        (made,) = merge([], [Condition("ScalingActive", "False", reason, "m")], generation=1, now=SOONER)
        assert turned(made).warning is warning


def test_whatever_flaps_there_are_at_most_ten_events_an_hour_after_a_burst() -> None:
    allowance, made = Allowance(), []
    for now in range(0, 10 * 3600, 4):
        spent = allowance.spend(now)
        if spent is not None:
            allowance = spent
            made.append(now)
    assert len([at for at in made if at < 60]) <= BURST
    for hour in range(1, 10):
        assert len([at for at in made if hour * 3600 <= at < (hour + 1) * 3600]) <= 10


def test_after_a_quiet_time_a_bad_day_can_be_told_again() -> None:
    allowance: Allowance | None = Allowance()
    for _ in range(BURST):
        assert allowance is not None
        allowance = allowance.spend(0)
    assert allowance is not None
    assert allowance.spend(0) is None
    after = allowance.spend(100_000)
    assert after is not None
    assert after.left == BURST - 1
