"""A scale divides every duration of a rule, and nothing else."""

import re

import pytest

from monitoring.rules import GROUPS, scaling
from monitoring.rules.declared import Alert
from monitoring.rules.rendering import spec


@pytest.mark.parametrize(
    ("duration", "scale", "expected"),
    [
        ("5m", 1, "5m"),
        ("1h", 60, "1m"),
        ("3d", 60, "72m"),
        ("30s", 60, "500ms"),
        ("0s", 60, "0s"),
        ("1s", 10_000, "1ms"),
        ("1800s", 1, "30m"),
    ],
)
def test_a_duration_is_divided(duration: str, scale: float, expected: str) -> None:
    assert scaling.scaled(duration, scale) == expected


@pytest.mark.parametrize("duration", ["", "5", "5 m", "1w", "m"])
def test_an_unknown_unit_is_rejected_with_those_that_exist(duration: str) -> None:
    with pytest.raises(ValueError, match="ms, s, m, h, d"):
        scaling.milliseconds(duration)


def test_ranges_steps_offsets_and_thresholds_of_time_are_divided_and_other_numbers_stay() -> None:
    expr = 'rate(x{le="0.25"}[5m]) > 3 and x[3d:5m] offset 1h and time() - y > seconds(2d)'
    made = 'rate(x{le="0.25"}[5s]) > 3 and x[72m:5s] offset 1m and time() - y > 2880'
    assert scaling.expression(expr, 60) == made


def test_every_duration_of_every_rule_follows_the_scale() -> None:
    """A duration in a form that the scale does not find would stay as it is."""
    duration = re.compile(r"(?<![\w:.])\d+(?:ms|[smhd])\b")
    for group in GROUPS:
        for rule in group.rules:
            assert not duration.findall(scaling._PARTS.sub("", rule.expr)), rule
    for group, declared in zip(spec(scale=60)["groups"], GROUPS, strict=True):
        for rule, source in zip(group["rules"], declared.rules, strict=True):
            if isinstance(source, Alert):
                pending = scaling.milliseconds(source.pending)
                assert scaling.milliseconds(rule["for"]) == pending / 60
