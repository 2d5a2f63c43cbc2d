"""A real Prometheus evaluates every rule without an error on a live chat, and nothing fires while it is healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from monitoring.rules.slo import EVENTS, SLOS, ratio
from tests.support.cluster import until
from tests.support.livechat import live_chat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

SCALE = 60
"""An hour of the rules is a minute here."""

EXPECTED = {
    # Nothing here is the operator.
    "ChatOperatorAbsent",
    # They measure times, and a machine that runs other tests beside this one is slow.
    "ChatEventLoopLags",
    "ChatPoolWaits",
    "ChatReconnectStorm",
    "ChatWritesQueue",
}

TIMED = {"sends_quick", "delivery", "end_to_end"}
"""Objectives that such a machine may miss."""


async def test_every_rule_is_evaluated_on_a_live_chat_and_none_fires_while_it_is_healthy(tmp_path: Path) -> None:
    async with live_chat(tmp_path, scale=SCALE) as chat:
        prometheus = chat.prometheus

        async def observed() -> bool:
            await chat.talk()
            fired = [
                labels
                for labels in prometheus.firing()
                if labels["alertname"] not in EXPECTED and labels.get("slo") not in TIMED
            ]
            assert not fired
            # Half an hour of the rules: then budget alerts look at their first window.
            return len(prometheus.query(f"present_over_time({EVENTS}[5s] offset 30s)")) == len(SLOS)

        await until(observed, "the rules have half an hour of history", 180, 0.5)
        faults = [(rule["name"], rule["lastError"]) for rule in prometheus.rules() if rule["health"] != "ok"]
        assert not faults
        ratios = {sample.labels["slo"]: sample.value for sample in prometheus.query(ratio("1h"))}
        assert set(ratios) == {slo.name for slo in SLOS}
