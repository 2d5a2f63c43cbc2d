"""Each part of the product has what CONTRIBUTING.md requires: metrics, alert, runbook, panels, policy, limits, docs."""

import pytest

from tests.support.cluster import ROOT
from tests.support.completeness import PARTS, WITHOUT_MONITORING, Part, folders, missing, objects, templates

MADE = objects()
PODS = templates(MADE).keys()

OF_CHATS = [part for part in PARTS if part.pod in PODS]


def test_every_pod_and_every_package_of_a_part_is_a_declared_part() -> None:
    undeclared = PODS - {part.pod for part in PARTS} - WITHOUT_MONITORING.keys()
    assert not undeclared, "declare it in tests/support/completeness.py"
    assert folders() <= {part.component for part in PARTS} | WITHOUT_MONITORING.keys(), (
        "declare it in tests/support/completeness.py"
    )


@pytest.mark.parametrize("part", [*OF_CHATS, PARTS[-1]], ids=lambda part: part.component)
def test_a_part_is_complete(part: Part) -> None:
    assert missing(part, MADE) == []


def test_a_new_part_without_any_of_it_is_found() -> None:
    lacks = missing(Part("cache", "cache", "chatcache_", "cache"), MADE)
    subjects = ("metrics.md", "alert", "dashboard", "scrape", "monitoring.md", "failures.md", "sizing.md", "no pod")
    assert [subject for subject in subjects if not any(subject in sentence for sentence in lacks)] == []


def test_a_part_without_policy_or_limits_is_found() -> None:
    part = next(part for part in PARTS if part.pod == "chatserver")
    without = [one for one in MADE if one["kind"] != "NetworkPolicy"]
    assert missing(part, without) == ["no NetworkPolicy selects its pods"]


def test_contributing_requires_what_is_checked() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## Add a part to the product\n")[2].partition("\n## ")[0]
    for place in (
        "metrics.md",
        "monitoring/rules",
        "docs/runbooks",
        "monitoring/dashboards",
        "failures.md",
        "sizing.md",
    ):
        assert place in section
