"""docs/operations/slo.md says what the rules do."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from monitoring.rules import ALERTS
from monitoring.rules.slo import FAST, LEAST_BAD_EVENTS, SLOS, SLOW
from tests.support.rulequeries import read_by_rules

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations" / "slo.md").read_text()
VALUES = ROOT / "charts" / "chatcluster-operator" / "values.yaml"


def rows(heading: str) -> list[list[str]]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_each_objective_is_on_the_page_with_its_default_and_its_expressions() -> None:
    found = {row[0]: row[1:] for row in rows("The objectives")[: len(SLOS) + 1]}
    expressions = {row[0]: row[1:] for row in rows("The objectives")[len(SLOS) + 1 :]}
    for slo in SLOS:
        assert found[f"`{slo.name}`"][1] == f"{slo.percent:g} %"
        events, good = (cell.replace("\\|", "|").strip("`") for cell in expressions[f"`{slo.name}`"])
        assert events in {slo.events, "as above"}
        assert good == slo.good
    assert len(found) == len(expressions) == len(SLOS) + 1


def test_the_chart_has_the_same_defaults() -> None:
    values = yaml.load(VALUES.read_text(), yaml.CSafeLoader)["monitoring"]["rules"]["slo"]
    assert values == {slo.value: slo.percent for slo in SLOS}


def test_the_windows_are_those_of_the_alerts() -> None:
    table = rows("Alerts on error budgets")[1:5]
    assert [re.findall(r"[\d.]+", row[1])[0] for row in table] == [f"{burn.factor:g}" for burn in (*FAST, *SLOW)]
    windows = [(row[2].replace(" ", ""), row[3].replace(" ", "").replace("min", "m")) for row in table]
    assert windows == [(burn.long, burn.short) for burn in (*FAST, *SLOW)]
    assert f"at least {LEAST_BAD_EVENTS} bad events" in PAGE


def test_each_limit_has_an_alert_that_reads_its_metric() -> None:
    names = {alert.name for alert in ALERTS}
    read = {selector.metric.removesuffix("_bucket") for selector in read_by_rules()}
    for row in rows("Limits, and who warns before they are reached")[1:]:
        alerts = re.findall(r"\bChat[A-Z]\w+", re.sub(r"\]\([^)]*\)", "]", row[3]))
        assert alerts, row
        assert set(alerts) <= names, row
        assert set(re.findall(r"`(\w+)`", row[2])) <= read, row
