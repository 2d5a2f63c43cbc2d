"""The dashboards are complete, their queries parse, and the chart contains what the code makes."""

from __future__ import annotations

import json
import os
import re
import shutil
from itertools import pairwise
from typing import Any

import pytest
import yaml

from chatoperator.conditions import TYPES
from crds.metrics import sample_names
from monitoring.dashboards import fleet
from monitoring.dashboards.__main__ import DASHBOARDS, FOLDER, made
from monitoring.dashboards.grafana import FIRING
from monitoring.dashboards.model import COLUMNS, Dashboard, Kind, Panel
from monitoring.rules import ALERTS, GROUPS
from monitoring.rules.declared import Record
from tests.support.dashboards import queries, substituted
from tests.support.prometheus import check

OWN = re.compile(r"\b(?:chatserver|chatcluster|chatpostgres|chatprobe)_[\w:]+")
"""Names of our metrics in PromQL; recorded ones have colons."""

CONFIGMAP_BYTES_MAX = 1_048_576
"""Of all data of a ConfigMap together."""

BOARDS = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)

PANELS = [(f"{board.name} / {panel.title}", panel) for board in DASHBOARDS for panel in board.panels]


def drawn(board: Dashboard) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(made()[f"{board.name}.json"])["panels"]
    return panels


def test_the_chart_contains_what_make_docs_makes() -> None:
    files = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert files == made(), "the dashboards have changed: run `make docs`"


@BOARDS
def test_a_dashboard_fits_into_a_configmap(board: Dashboard) -> None:
    assert len(made()[f"{board.name}.json"].encode()) < CONFIGMAP_BYTES_MAX / 4


@BOARDS
def test_a_dashboard_has_few_panels(board: Dashboard) -> None:
    assert 8 <= len(board.panels) <= 16
    titles = [panel.title for panel in board.panels]
    assert len(set(titles)) == len(titles)


def test_uids_are_unique_and_short_enough_for_grafana() -> None:
    uids = [board.uid for board in DASHBOARDS]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in uids)


@BOARDS
def test_ids_are_unique_and_no_two_panels_overlap(board: Dashboard) -> None:
    panels = drawn(board)
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        cells |= taken
    # No holes either, in which Grafana would move what is below.
    assert len(cells) == COLUMNS * (max(y for _, y in cells) + 1)


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[name for name, _ in PANELS])
def test_each_panel_says_what_it_shows_and_what_is_normal(name: str, panel: Panel) -> None:
    assert panel.unit, name
    assert panel.shows.endswith("."), name
    assert panel.normal.endswith("."), name
    assert panel.queries, name
    assert all(query.legend for query in panel.queries), name
    values = [threshold.value for threshold in panel.thresholds]
    assert all(low < high for low, high in pairwise(values)), name


@BOARDS
def test_unit_and_description_and_runbooks_are_in_what_grafana_reads(board: Dashboard) -> None:
    panels = {panel["title"]: panel for panel in drawn(board) if panel["type"] != "row"}
    for panel in board.panels:
        shown = panels[panel.title]
        assert shown["fieldConfig"]["defaults"]["unit"] == panel.unit
        assert shown["description"] == panel.description
        assert [link["url"] for link in shown.get("links", [])] == [
            f"${{runbooks}}{alert}.md" for alert in panel.alerts
        ]
        assert {target["datasource"]["uid"] for target in [shown, *shown["targets"]] if "datasource" in target} == {
            "${datasource}"
        }


@pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"),
    reason="no promtool here: .ci/install installs it, with Debian's package prometheus",
)
def test_promtool_parses_each_query() -> None:
    every = [*queries(), ("annotation", FIRING)]
    rules = [{"record": f"query:{index}", "expr": substituted(expr)} for index, (_, expr) in enumerate(every)]
    assert len(rules) > 100
    assert not check("rules", yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))


def test_a_rate_covers_four_scrapes_whatever_their_interval_is() -> None:
    assert not [
        name for name, expression in queries() if re.search(r"\brate\([^\[]*\[(?!\$__rate_interval\])", expression)
    ]


def test_each_query_keeps_to_the_chosen_chats_or_is_of_the_operator_alone() -> None:
    for name, expression in queries():
        for metric in re.finditer(
            r"\b(?:chatserver|chatpostgres|chatprobe|haproxy|valkey|process)_\w+(.?)", expression
        ):
            assert metric[1] == "{", name
        for selector in re.findall(r"\{([^{}]*)\}", expression):
            assert selector.startswith('namespace=~"$namespace", chatcluster=~"$chatcluster"'), name


def test_conditions_need_attention_where_their_status_is_the_bad_one() -> None:
    assert set(fleet.BAD_IF_FALSE) == {kind.name for kind in TYPES if kind.bad == "False"}
    assert set(fleet.BAD_IF_TRUE) == {kind.name for kind in TYPES if kind.bad == "True"}


def test_tables_ask_for_one_value_a_row() -> None:
    for board in DASHBOARDS:
        for panel in drawn(board):
            if panel["type"] == Kind.TABLE:
                assert all(target["instant"] and target["format"] == "table" for target in panel["targets"])


def test_each_alert_has_a_panel_that_links_its_runbook() -> None:
    assert {alert for _, panel in PANELS for alert in panel.alerts} == {alert.name for alert in ALERTS}


def test_each_metric_of_ours_exists() -> None:
    recorded = {rule.record for group in GROUPS for rule in group.rules if isinstance(rule, Record)}
    known = sample_names() | recorded
    named = {(name, metric) for name, expression in queries() for metric in OWN.findall(expression)}
    assert not sorted((name, metric) for name, metric in named if metric not in known)
