"""Every scenario of the bench still runs, in its smallest size, and its report; no figure is asserted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.plan import PARTS, Plan
from bench.ratios import ratios
from bench.report import TITLES, drawings, render
from bench.sizes import SMOKE

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def figures() -> Mapping[str, object]:
    # Peers are downloaded: no test does that.
    return Plan(SMOKE, peers=False).run("smoke")


def test_every_scenario_runs_and_every_row_equals_an_acknowledgement(figures: Mapping[str, object]) -> None:
    # A scenario that finds other rows than acknowledgements, or other deliveries, fails.
    assert figures["failed"] == {}
    assert figures["skipped"] == {"the peers": "not selected"}
    parts = figures["parts"]
    assert isinstance(parts, dict)
    assert set(parts) == set(TITLES)
    assert PARTS
    for rows in parts.values():
        assert rows


def test_its_report_and_ratios_can_be_written(figures: Mapping[str, object]) -> None:
    parts = figures["parts"]
    assert isinstance(parts, dict)
    found = ratios(parts)
    assert found["durable_vs_pgbench"] is not None
    assert found["chain_connections"] == SMOKE.chain
    text = render(figures)
    assert all(f"## {title}" in text for title in TITLES.values())
    assert {"throughput", "cpu", "memory"} <= set(drawings(parts))
