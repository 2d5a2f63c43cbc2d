"""The bench still runs: generators, counting and report, in the smallest size. The other scenarios: tests/soak."""

from __future__ import annotations

import pytest

from bench.plan import Plan
from bench.report import TITLES, render
from bench.sizes import SMOKE

pytestmark = pytest.mark.integration


def test_a_tiny_run_finds_each_acknowledged_message_in_the_database_and_at_its_recipients() -> None:
    # Other rows than acknowledgements, or other deliveries, fail a scenario. Of what it measures nothing is asserted.
    figures = Plan(SMOKE, peers=False, only=("groups", "rest")).run("smoke")
    assert figures["failed"] == {}
    assert {row["load"] for row in figures["parts"]["groups"]} == {"most", "half"}
    assert all(row["messages"] > 0 for row in figures["parts"]["rest"])
    assert f"## {TITLES['groups']}" in render(figures)
