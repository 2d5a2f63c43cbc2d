"""The bus of a running chat changes from PostgreSQL to Valkey and back, and loses a Valkey pod, while users chat.

Run by `make soak`: both chatservers are replaced twice, one after the other and each within its drain, which takes more
than a minute each time. `make test` has what needs no pods: the order of a change (tests/integration/operator/), and
servers of both buses side by side and each fault of Valkey while users chat (tests/integration/test_valkey_servers.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.readiness import ReadyWatch

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

pytestmark = pytest.mark.soak

CHANGED_SECONDS = 420
CONNECTED_SECONDS = 120
KILLED_SECONDS = 120


async def test_the_bus_changes_and_loses_a_pod_while_users_chat(cluster: Cluster) -> None:
    await cluster.settled()
    await cluster.says("BusReady", "Connected", CONNECTED_SECONDS)
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        try:
            await cluster.patch({"bus": {"type": "Valkey"}})
            await cluster.settled(CHANGED_SECONDS)
            assert len(await cluster.pods("bus")) == 2
            await cluster.says("BusReady", "Connected", CONNECTED_SECONDS)
            for server in await cluster.pods("chatserver"):
                names = {one["name"] for one in server["spec"]["containers"][0]["env"]}
                assert "CHAT_BUS_URLS" in names

            # One pod is killed again and again until the condition has seen it.
            async def noticed() -> bool:
                await cluster.kubectl("delete", "pod", "demo-bus-0", "-n", "chat", "--grace-period=0", "--force")
                return bool((await cluster.condition("BusReady"))["status"] == "False")

            await until(noticed, "BusReady is False", KILLED_SECONDS)
            told = await cluster.condition("BusReady")
            tell(f"a Valkey pod killed: {told['reason']}: {told['message']}")
            await cluster.says("BusReady", "Connected", CONNECTED_SECONDS)
        finally:
            await cluster.patch({"bus": None})
        await cluster.settled(CHANGED_SECONDS)

        async def gone() -> bool:
            return not await cluster.pods("bus")

        await until(gone, "Valkey's pods are gone", CHANGED_SECONDS)
        await cluster.says("BusReady", "Connected", CONNECTED_SECONDS)
        account = await ledger.finish()
        tell(account)
        assert account.clean, account
        assert not ready.bad(), "Ready does not depend on the bus"
