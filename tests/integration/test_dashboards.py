"""Each panel about a chat shows data from its real parts, scraped by a real Prometheus with the chart's rules.

What only a chat with Valkey has is left out: its page is compared in operator/test_valkey.py, and whether limits are
shared in test_valkey_limits.py. So is what only a leader with replicas and a replica have, and a backup pod.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.dashboards import chosen, of_the_operator, without_data
from tests.support.findings import tell
from tests.support.livechat import NAME, live_chat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 90

WITH_VALKEY = ("valkey_", "chatserver_limits_shared")

WITH_REPLICAS = ("chatpostgres_replica_", "chatpostgres_replay_lag_seconds")


WITH_BACKUPS = ("chatbackup_",)

ELSEWHERE = (*WITH_VALKEY, *WITH_REPLICAS, *WITH_BACKUPS)


def _has_data(expression: str) -> bool:
    return not of_the_operator(expression) and not any(name in expression for name in ELSEWHERE)


async def test_each_panel_about_a_chat_has_data(tmp_path: Path) -> None:
    async with live_chat(tmp_path) as chat:
        every = chosen(_has_data)
        deadline = time.monotonic() + PATIENCE_SECONDS
        missing = every
        while missing and time.monotonic() < deadline:
            await chat.talk()
            missing = without_data(chat.prometheus, missing, NAME)
        assert not missing
        tell(f"{len(every)} queries of panels about a chat have data on a live system")
