"""Ten healthy minutes under load: status never says anything else, and is silent about it.

The smoke version is in test_cursor.py, which has half a minute of load anyhow; this one is run by `make soak`.
"""

import asyncio
import os

import pytest

from tests.support.cluster import Cluster
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.readiness import healthy

HEALTHY_SECONDS = float(os.environ.get("CHAT_SOAK_SECONDS", "600"))

PAIRS = 20

MESSAGES_PER_SECOND = 5
"""By each user: 200 a second, each acknowledged and delivered."""


@pytest.mark.soak
async def test_ready_is_never_false_in_ten_healthy_minutes_under_load(cluster: Cluster) -> None:
    async with (
        Ledger(cluster.url, tls=cluster.insecure, pairs=PAIRS, messages_per_second=MESSAGES_PER_SECOND) as ledger,
        healthy(cluster),
    ):
        await asyncio.sleep(HEALTHY_SECONDS)
        account = await ledger.finish()
        tell(account)
        assert account.clean, account
        assert account.refused == 0
