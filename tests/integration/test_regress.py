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

TRIED_TURNS = 1_000
"""About a tenth of what a message costs."""


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

        good = counts[SPOILED.name]["instructions"]
        small = instructions_with(TRIED_TURNS)
        each = (small - good) / TRIED_TURNS
        large = instructions_with(round(0.3 * good / each))

    def verdict(instructions: float) -> str:
        [row] = compared({SPOILED.name: {"instructions": good}}, {SPOILED.name: {"instructions": instructions}}, {})
        return row.verdict

    tell(f"spoiled: {small / good:.3f} and {large / good:.3f} times the instructions")
    assert 1.05 < small / good < 1.18
    assert (verdict(small), verdict(large)) == ("", "LOSS")
    assert not failed, text
