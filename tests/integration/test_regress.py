"""The hot path, counted on a real chatserver and a real PostgreSQL, costs what was accepted; a loss is found."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from bench.regress.baseline import Baseline, report
from bench.regress.compare import compared
from bench.regress.measure import running
from bench.regress.works import TOGETHER, WORKS
from tests.support.findings import tell

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

[SPOILED] = [work for work in WORKS if work.name == f"message, {TOGETHER} at once"]
"""What the loss is looked for in: messages in batches, of which one costs so little that its count hardly varies."""

TRIED_TURNS = 300


def test_the_hot_path_costs_what_was_accepted_and_a_loss_of_a_fifth_is_found(tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    with running([sys.executable, "-m", "tests.support.spoiled"], CHAT_TEST_SPOIL=str(turns)) as bench:
        counts = {work.name: bench.count(work) for work in WORKS}
        text, failed = report(Baseline.read(), Baseline.of(counts, bench.counted_with()))
        for line in text.splitlines():
            tell(line)

        def instructions_with(count: int) -> float:
            turns.write_text(str(count))
            bench.server.signal(signal.SIGUSR1)
            return bench.count(SPOILED)["instructions"]

        good = instructions_with(0)
        # About as many as it will be: a turn's cost depends a little on how many there are.
        each = (instructions_with(TRIED_TURNS) - good) / TRIED_TURNS
        found = {}
        for share in (0.1, 0.3):
            spoiled = {SPOILED.name: {"instructions": instructions_with(round(share * good / each))}}
            [row] = compared({SPOILED.name: {"instructions": good}}, spoiled, {})
            found[share] = row.verdict
    assert found == {0.1: "", 0.3: "LOSS"}
    assert not failed, text
