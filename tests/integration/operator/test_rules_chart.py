"""The chart makes the same rules of its values as Python does, and its values reach what they say."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from monitoring.rules.rendering import Values, spec
from tests.support.chart import CHART, helm, render

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

RULES = "monitoring.rules.enabled=true"
DASHBOARDS = "monitoring.dashboards.enabled=true"


def made(kind: str, *values: str) -> list[dict[str, Any]]:
    return [document for document in render(*values) if document["kind"] == kind]


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ((), Values()),
        (
            (
                "monitoring.rules.runbookUrl=https://example.com/runbooks/",
                "monitoring.rules.disabled={ChatLockWaits,ChatVolumeFullSoon}",
                "monitoring.rules.alertLabels.team=chat",
                "monitoring.rules.slo.sendsAccepted=99.95",
                "monitoring.rules.slo.endToEnd=98",
            ),
            Values(
                "https://example.com/runbooks/",
                ("ChatLockWaits", "ChatVolumeFullSoon"),
                {"team": "chat"},
                {"sendsAccepted": 99.95, "endToEnd": 98},
            ),
        ),
    ],
)
def test_helm_renders_the_rules_as_python_does(settings: tuple[str, ...], values: Values) -> None:
    (rule,) = made("PrometheusRule", RULES, *settings)
    assert rule["spec"] == spec(values)


def test_rules_are_made_where_they_are_desired_or_their_kind_exists() -> None:
    assert not made("PrometheusRule")
    assert not made("PrometheusRule", "monitoring.rules.enabled=false")
    arguments = ("template", "x", str(CHART), "--kube-version", "1.34.0", "--show-only")
    served = ("templates/monitoring/rules.yaml", "--api-versions", "monitoring.coreos.com/v1/PrometheusRule")
    done = helm(*arguments, *served)
    assert yaml.load(done.stdout, yaml.CSafeLoader)["kind"] == "PrometheusRule", done.stderr


def test_labels_reach_the_rules_and_the_dashboards() -> None:
    (rule,) = made("PrometheusRule", RULES, "monitoring.rules.labels.release=kps")
    assert rule["metadata"]["labels"]["release"] == "kps"
    chosen = ("monitoring.dashboards.labels.grafana_dashboard=yes", "monitoring.dashboards.annotations.folder=Chat")
    for dashboard in made("ConfigMap", DASHBOARDS, *chosen):
        assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "yes"
        assert dashboard["metadata"]["annotations"] == {"folder": "Chat"}


def test_each_dashboard_of_the_chart_becomes_a_config_map_that_grafana_finds() -> None:
    assert not made("ConfigMap")
    files = {path.name: path.read_text() for path in (CHART / "monitoring" / "dashboards").glob("*.json")}
    found = made("ConfigMap", DASHBOARDS)
    assert {name: text for config_map in found for name, text in config_map["data"].items()} == files
    assert {config_map["metadata"]["labels"]["grafana_dashboard"] for config_map in found} <= {"1"}
    assert len({config_map["metadata"]["name"] for config_map in found}) == len(files)


def test_the_dashboards_link_the_runbooks_where_the_rules_do() -> None:
    url = "https://example.com/runbooks/"
    for dashboard in made("ConfigMap", DASHBOARDS, f"monitoring.rules.runbookUrl={url}"):
        (text,) = dashboard["data"].values()
        assert "docs/runbooks/" not in text
        (variable,) = (one for one in json.loads(text)["templating"]["list"] if one["name"] == "runbooks")
        assert variable["query"] == url


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("monitoring.rules.disabled={ChatUnknown}", "ChatUnknown"),
        ("monitoring.rules.slo.sendsAccepted=100", "sendsAccepted"),
        ("monitoring.rules.slo.unknown=99", "unknown"),
        ("monitoring.rules.alertLabels.severity=none", "severity"),
    ],
)
def test_a_wrong_value_is_rejected_by_its_name(setting: str, complaint: str) -> None:
    done = helm("template", "x", str(CHART), "--kube-version", "1.34.0", "--set", RULES, "--set", setting)
    assert done.returncode
    assert complaint in done.stderr


def test_no_value_of_monitoring_changes_a_pod() -> None:
    settings = (RULES, DASHBOARDS, "monitoring.podMonitors.enabled=true", "monitoring.rules.slo.delivery=98")
    assert made("Deployment", *settings) == made("Deployment")


MONITORS = "monitoring.podMonitors.enabled"


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ((), "no monitors and no alerts."),
        (("monitoring.rules.enabled=false",), "no monitors."),
        ((f"{MONITORS}=false",), "no alerts."),
        ((f"{MONITORS}=true", RULES), None),
        ((f"{MONITORS}=false", "monitoring.rules.enabled=false"), None),
    ],
)
def test_the_notes_name_what_the_chart_left_out_and_the_way_without_the_prometheus_operator(
    tmp_path: Path, settings: tuple[str, ...], missing: str | None
) -> None:
    """Without a cluster Helm shows no notes, so that they are rendered as a manifest."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    notes = (chart / "templates" / "NOTES.txt").read_text()
    wrapped = f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}notes: {{{{ include "notes" . | quote }}}}\n'
    (chart / "templates" / "notes.yaml").write_text(wrapped)
    arguments = ("--kube-version", "1.34.0", "--show-only", "templates/notes.yaml")
    done = helm("template", "x", str(chart), *arguments, *(part for setting in settings for part in ("--set", setting)))
    assert done.returncode == 0, done.stderr
    shown = yaml.load(done.stdout, yaml.CSafeLoader)["notes"]
    assert ("docs/operations/monitoring.md" in shown) is (missing is not None)
    assert missing is None or f"the chart has created {missing}" in shown


def test_an_objective_that_is_out_of_bounds_is_rejected_with_its_bound_alone() -> None:
    done = helm("template", "x", str(CHART), "--kube-version", "1.34.0", "--set", "monitoring.rules.slo.delivery=300")
    complaints = [line for line in done.stderr.splitlines() if line.lstrip().startswith("- at ")]
    assert complaints == ["- at '/monitoring/rules/slo/delivery': maximum: got 300, want 99.999"]
