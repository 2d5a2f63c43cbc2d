"""Rules read series that exist, with labels and values that exist: one that never matches would never fire."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chatoperator.conditions import TYPES
from chatserver.metrics import Metrics
from chatserver.probe.metrics import ProbeMetrics
from crds.metrics import sample_names
from monitoring.rules import GROUPS
from monitoring.rules.declared import Record
from tests.support.cluster import ROOT
from tests.support.rulequeries import read_by_rules, selectors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

OF_OTHERS = {
    # Prometheus' own, and kubelet's where it is scraped.
    "up",
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
}
"""Those of HAProxy and Valkey are compared with their pages in tests/integration/operator/: test_haproxy_telemetry.py
and test_valkey.py."""

TARGET_LABELS = {"component", "pod", "namespace", "chatcluster", "container"}


def samples(registry: CollectorRegistry) -> Iterator[tuple[str, dict[str, str]]]:
    return ((sample.name, sample.labels) for family in registry.collect() for sample in family.samples)


def test_each_series_that_a_rule_reads_exists() -> None:
    recorded = {rule.record for group in GROUPS for rule in group.rules if isinstance(rule, Record)}
    read = {selector.metric for selector in read_by_rules() if not selector.metric.startswith(("haproxy_", "valkey_"))}
    assert len(read) > 50
    assert not sorted(read - sample_names() - recorded - OF_OTHERS)


def test_each_label_and_value_that_a_rule_selects_exists() -> None:
    """Buckets and results exist before the first event."""
    known = [*samples(Metrics().registry), *samples(ProbeMetrics().registry)]
    labelled = {name for name, labels in known if labels}
    checked = 0
    for selector in read_by_rules():
        matchers = {label: value for label, value in selector.matchers.items() if label not in TARGET_LABELS}
        if selector.metric not in labelled or not matchers:
            continue
        checked += 1
        assert any(
            name == selector.metric
            and all(re.fullmatch(value, labels.get(label, "")) for label, value in matchers.items())
            for name, labels in known
        ), selector
    assert checked > 10


def test_each_condition_and_reason_that_a_rule_selects_exists() -> None:
    reasons = {kind.name: {reason.name for reason in kind.reasons} for kind in TYPES}
    statuses = {kind.name: {status for reason in kind.reasons for status in reason.statuses} for kind in TYPES}
    checked = 0
    for selector in read_by_rules():
        if selector.metric.startswith("chatcluster_condition"):
            kind = selector.matchers["type"]
            assert set(selector.matchers.get("reason", "").split("|")) - {""} <= reasons[kind], selector
            assert {selector.matchers.get("status", "True")} <= statuses[kind], selector
            checked += 1
    assert checked > 3


def test_selectors_are_found_in_an_expression() -> None:
    expression = 'sum by (chat_id, le) (rate(chat_x_bucket{le="0.5", a=~"b|c"}[5m])) > on (x_y) haproxy_z'
    assert selectors(expression) == [("chat_x_bucket", {"le": r"0\.5", "a": "b|c"}), ("haproxy_z", {})]


def test_each_log_event_that_a_text_names_is_logged() -> None:
    code = "".join(path.read_text() for path in (ROOT / "chatserver" / "chatserver").rglob("*.py"))
    texts = [path.read_text() for path in (ROOT / "charts" / "chatcluster-operator" / "monitoring").rglob("*.*")]
    events = {event for text in texts for event in re.findall(r"\blog event ([a-z_]+)", text)}
    assert events
    assert {event for event in events if f'"{event}"' not in code} == set()
