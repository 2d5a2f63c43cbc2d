"""Each alert fires, does not fire, and resolves, by promtool's unit tests of rules."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from monitoring.rules import ALERTS
from monitoring.rules.rendering import rule_file
from tests.support.prometheus import check
from tests.support.rulecases import run

if TYPE_CHECKING:
    from tests.support.rulecases import Case

SUBJECTS = ("backup", "chat", "chatservers", "database", "ingress", "operator", "replication", "slo")
CASES: list[Case] = [case for subject in SUBJECTS for case in import_module(f"tests.monitoring.cases.{subject}").CASES]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"),
    reason="no promtool here: .ci/install installs it, with Debian's package prometheus",
)


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.alert}" for number, case in enumerate(CASES)])
def test_an_alert_fires_only_during_its_fault_and_for_no_other_chat(case: Case) -> None:
    said = run(case)
    assert not said, said


def test_each_alert_has_a_case_for_each_severity() -> None:
    fired = {(case.alert, case.fires) for case in CASES}
    for alert in ALERTS:
        # The ticket of a pair must fire alone, too.
        pages = any(other.name == alert.name and other.severity == "page" for other in ALERTS)
        expected = ("page", "ticket") if pages and alert.severity == "page" and len(severities(alert.name)) > 1 else ()
        assert (alert.name, expected or (alert.severity.value,)) in fired, (alert.name, alert.severity)


def severities(name: str) -> set[str]:
    return {alert.severity.value for alert in ALERTS if alert.name == name}


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.alert}" for number, case in enumerate(CASES)])
def test_each_case_has_a_fault_that_is_too_small_or_too_brief(case: Case) -> None:
    """Otherwise its second half would only repeat that a healthy chat is healthy."""
    before, during, _ = case.steps
    assert before > 0
    smaller = any(signal.near not in {signal.healthy, signal.faulty} for signal in case.series.values())
    other = any(signal.near != signal.faulty for signal in case.series.values()) and any(
        signal.near == signal.faulty != signal.healthy for signal in case.series.values()
    )
    assert smaller or other or (case.brief is not None and case.brief < during)


@needs_promtool
@pytest.mark.parametrize("scale", [1, 60, 600])
def test_promtool_accepts_the_rules_and_their_texts(scale: float) -> None:
    assert not check("rules", rule_file(scale=scale))
