"""The page of metrics lists what the code of each component declares, and queries can be checked against the same."""

import re

import pytest

from crds import metrics
from crds.metrics import COMPONENTS, Component, Family


def test_the_page_of_metrics_is_what_make_docs_makes() -> None:
    assert metrics.render() == metrics.PAGE.read_text(), "the metrics have changed: run `make docs`"


@pytest.mark.parametrize(
    "name",
    [
        "chatserver_connections",
        "chatserver_messages_total",
        "chatserver_defects_total",
        "chatserver_delivery_seconds_bucket",
        "chatserver_delivery_seconds_count",
        "chatcluster_reconcile_seconds_sum",
        "process_max_fds",
    ],
)
def test_the_names_that_a_query_may_use_are_those_of_series(name: str) -> None:
    assert name in metrics.sample_names()


@pytest.mark.parametrize("name", ["chatserver_messages", "chatserver_delivery_seconds", "chatserver_messages_created"])
def test_a_name_without_series_may_not_be_used_in_a_query(name: str) -> None:
    assert name not in metrics.sample_names()


def test_a_labelled_metric_without_series_is_listed_with_its_labels() -> None:
    (row,) = [line for line in metrics.PAGE.read_text().splitlines() if line.startswith("| `chatserver_http_request_")]
    assert "`route`" in row


def test_a_component_that_lists_its_metrics_as_tuples_has_a_section() -> None:
    listed = [("chatpostgres_table_bytes", "gauge", "Size of a table | index.", ("table",))]
    made = metrics.render([Component("PostgreSQL", "Port 8010.", lambda: listed)])
    assert made.endswith(
        "## PostgreSQL\n\nPort 8010.\n\n| metric | type | labels | unit | meaning |\n| --- | --- | --- | --- | --- |\n"
        "| `chatpostgres_table_bytes` | gauge | `table` | bytes | Size of a table \\| index |\n"
    )


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.title)
def test_each_metric_is_described_once_in_a_sentence(component: Component) -> None:
    families = [Family(*one) for one in component.families()]
    assert len({family.name for family in families}) == len(families)
    assert [family.name for family in families if len(family.help) < 10] == []


def test_the_unit_of_a_time_on_the_clock_is_not_that_of_a_duration() -> None:
    rows = [line.split(" | ") for line in metrics.PAGE.read_text().splitlines() if line.startswith("| `")]
    clock = {name for name, _, _, unit, _ in rows if unit == "Unix time, seconds"}
    described = {name for name, *_, meaning in rows if re.match(r"When |Time (at|of) |.*[Uu]nix (time|epoch)", meaning)}
    durations = {"| `chatcluster_answer_seconds`"}
    assert described - durations <= clock
    assert "| `process_start_time_seconds`" in clock
