"""What Prometheus gets of each ChatCluster: what holds now, and nothing once it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.conditions import conditions
from chatoperator.metrics import chats
from chatoperator.metrics.chats import ChatSeries, ConditionSeries, Figures
from chatoperator.metrics.prometheus import REGISTRY
from chatoperator.observed import Answer, Observed
from chatoperator.reconcile.series import figures
from chatoperator.reporting import status
from tests.operator.test_conditions import inputs, running, workload
from tests.support.chatclusters import cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatoperator.conditions.inputs import ConditionInputs

KEY = ("chat", "of-this-test")
LABELS = {"namespace": KEY[0], "name": KEY[1]}

AT = "2026-11-22T12:00:00Z"
AT_UNIX = 1795348800.0


def naming(key: tuple[str, str]) -> list[str]:
    """The names of all series of the operator in which a label has the name of a ChatCluster."""
    return [s.name for metric in REGISTRY.collect() for s in metric.samples if key[1] in s.labels.values()]


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, LABELS | labels)


@pytest.fixture
def series() -> Iterator[ChatSeries]:
    made = ChatSeries()
    chats.publish(KEY, made)
    yield made
    chats.withdraw(KEY, made)


FIGURES = Figures(
    conditions=(ConditionSeries("Ready", "True", "Working", 7), ConditionSeries("Progressing", "False", "Settled", 8)),
    connections=5,
    desired_replicas=2,
    replicas={("chatserver", "desired"): 2, ("chatserver", "ready"): 1},
    certificate_expiry=9,
)


def test_everything_that_is_published_disappears_at_once(series: ChatSeries) -> None:
    series.figures = FIGURES
    series.answered(0.1, ok=False)
    assert set(naming(KEY)) == {one.name + ("_total" if one.type == "counter" else "") for one in chats.FAMILIES}, (
        "a series of each metric"
    )
    chats.withdraw(KEY, series)
    assert naming(KEY) == []


def test_what_a_reconcile_records_after_its_chatcluster_was_forgotten_is_not_exported(series: ChatSeries) -> None:
    chats.withdraw(KEY, series)
    series.figures = FIGURES
    chats.count_error(KEY)
    assert naming(KEY) == []


def test_the_successor_of_a_deleted_chatcluster_keeps_its_series(series: ChatSeries) -> None:
    successor = ChatSeries(figures=FIGURES)
    chats.publish(KEY, successor)
    chats.withdraw(KEY, series)
    assert value("chatcluster_connections") == 5
    chats.withdraw(KEY, successor)


def test_a_condition_has_a_series_only_for_what_holds(series: ChatSeries) -> None:
    series.figures = FIGURES
    assert value("chatcluster_condition", type="Ready", status="True", reason="Working") == 1
    assert value("chatcluster_condition_since_timestamp_seconds", type="Ready") == 7
    series.figures = Figures(conditions=(ConditionSeries("Ready", "False", "NotAnswering", 11),))
    shown = [s for m in REGISTRY.collect() for s in m.samples if m.name == "chatcluster_condition"]
    mine = [s.labels for s in shown if s.labels["name"] == KEY[1]]
    assert mine == [LABELS | {"type": "Ready", "status": "False", "reason": "NotAnswering"}]
    assert (value("chatcluster_ready"), value("chatcluster_condition_since_timestamp_seconds", type="Ready")) == (0, 11)


def test_what_is_not_known_has_no_series_and_counters_begin_at_zero(series: ChatSeries) -> None:
    assert sorted(naming(KEY)) == [
        "chatcluster_answer_failures_total",
        "chatcluster_drain_forced_closes_total",
        "chatcluster_reconcile_errors_total",
    ]
    chats.count_error(KEY)
    series.answered(0.25, ok=False)
    series.answered(0.5, ok=True)
    assert value("chatcluster_reconcile_errors_total") == 1
    assert (value("chatcluster_answer_seconds"), value("chatcluster_answer_failures_total")) == (0.5, 1)


def reported(made: ConditionInputs, **others: Any) -> dict[str, Any]:
    """The status of a reconcile."""
    merged = status.merge(others.pop("held", []), conditions(made), generation=1, now=AT)
    return {"conditions": merged, "connections": 3, "desiredReplicas": 2, **others}


def test_a_healthy_chat_is_exported_as_its_status_has_it() -> None:
    made = inputs(running(servers=1))
    shown = figures(made, reported(made, certificate={"sha256": "ab", "notAfter": AT}))
    assert shown.certificate_expiry == AT_UNIX
    assert (shown.connections, shown.desired_replicas) == (3, 2)
    assert shown.replicas == {
        ("chatserver", "desired"): 2,
        ("chatserver", "ready"): 1,
        ("ingress", "desired"): 2,
        ("ingress", "ready"): 2,
        ("database", "desired"): 1,
        ("database", "ready"): 1,
    }
    assert ConditionSeries("Ready", "True", "Answering", AT_UNIX) in shown.conditions


def test_a_part_that_is_missing_is_desired_and_not_ready() -> None:
    made = inputs(Observed({}, ()))
    shown = figures(made, reported(made)).replicas
    assert {key: number for key, number in shown.items() if key[1] == "ready"} == {
        ("chatserver", "ready"): 0,
        ("ingress", "ready"): 0,
        ("database", "ready"): 0,
    }
    assert shown["ingress", "desired"] == 2


def test_an_external_database_has_no_replicas() -> None:
    external = cluster(database={"external": {"secretName": "dsn"}})
    made = inputs(running(), external)
    assert not [key for key in figures(made, reported(made)).replicas if key[0] == "database"]


def test_a_probe_has_replicas_where_it_is_enabled() -> None:
    made = inputs(running(), cluster(monitoring={"probe": {"enabled": True}}))
    shown = figures(made, reported(made)).replicas
    assert {key: number for key, number in shown.items() if key[0] == "probe"} == {
        ("probe", "desired"): 1,
        ("probe", "ready"): 0,
    }


def test_an_invalid_spec_exports_what_runs() -> None:
    made = inputs(Observed({("Deployment", "demo-ingress"): workload("demo-ingress", 1, 4)}, ()))
    shown = figures(type(made)(**{**made.__dict__, "desired": None, "spec_error": "spec.x: y"}), reported(made))
    assert shown.replicas == {("ingress", "desired"): 4, ("ingress", "ready"): 1}


def test_a_condition_of_another_writer_has_no_series() -> None:
    made = inputs(running())
    other = {"type": "Theirs", "status": "True", "reason": "Any", "message": "", "lastTransitionTime": "whenever"}
    assert "Theirs" not in {one.type for one in figures(made, reported(made, held=[other])).conditions}


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    made = inputs(running(), ok=False)
    held = [{**one, "lastTransitionTime": "2026-11-22T10:00:00Z"} for one in reported(made)["conditions"]]
    shown = figures(made, reported(made, held=held)).conditions
    assert {one.since for one in shown} == {AT_UNIX - 7200}


def test_the_duration_of_an_answer_does_not_make_it_another_one() -> None:
    assert Answer(ok=True, message="a", seconds=1) == Answer(ok=True, message="a", seconds=2)
