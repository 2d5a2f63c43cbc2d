"""What is left of an error budget, as promtool's unit tests of rules see it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from monitoring.rules import GROUPS
from monitoring.rules.declared import Group, Record
from monitoring.rules.rendering import spec
from monitoring.rules.slo import BUDGET_LEFT, ERRORS, ERRORS_OF_AN_HOUR, EVENTS, EVENTS_OF_AN_HOUR, OBJECTIVE
from tests.monitoring.test_alerts import needs_promtool
from tests.support.prometheus import program

if TYPE_CHECKING:
    from pathlib import Path

SLO = "delivery"
CHAT = 'namespace="chat", chatcluster="demo"'
HOURS = 30 * 24
BAD_HOURS = (600, 603.6)
"""Half a percent of the time, where one may be bad."""

EVERY_MINUTES = 4
"""The interval of the rules, which is also between two values of a series."""


@needs_promtool
def test_half_of_the_budget_of_thirty_days_is_left_after_bad_hours(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps(spec(groups=[_needed()])))
    (budget,) = [rule for rule in _records() if rule.record == BUDGET_LEFT]
    expression = f"round({budget.expr}, 0.05)"
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": f"{EVERY_MINUTES}m",
        "tests": [
            {
                "interval": f"{EVERY_MINUTES}m",
                "input_series": _series(BAD_HOURS),
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{HOURS}h",
                        "exp_samples": [{"labels": f'{{slo="{SLO}", {CHAT}}}', "value": 0.5}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    done = subprocess.run(
        [program("promtool"), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _records() -> list[Record]:
    return [rule for group in GROUPS for rule in group.rules if isinstance(rule, Record)]


def _needed() -> Group:
    """What the budget of one objective is summed up from: a month of all rules takes minutes."""
    names = {OBJECTIVE, EVENTS, ERRORS, EVENTS_OF_AN_HOUR, ERRORS_OF_AN_HOUR}
    records = (rule for rule in _records() if rule.record in names and rule.labels in ({}, {"slo": SLO}))
    return Group("needed", f"{EVERY_MINUTES}m", tuple(records))


def _series(bad_hours: tuple[float, float]) -> list[dict[str, str]]:
    """Pushes, of which all are slow during some hours."""
    steps = HOURS * 60 // EVERY_MINUTES
    began, ended = (round(hour * 60 / EVERY_MINUTES) for hour in bad_hours)
    good = f"0+100x{began - 1} {began * 100}x{ended - began - 1} {began * 100}+100x{steps - ended}"
    return [
        {"series": f'chatserver_push_seconds_count{{{CHAT}, pod="a"}}', "values": f"0+100x{steps}"},
        {"series": f'chatserver_push_seconds_bucket{{{CHAT}, pod="a", le="0.25"}}', "values": good},
    ]
