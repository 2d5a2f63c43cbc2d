"""The servers follow the connections, and nobody is cut but by `reconnect` and 1012."""

import asyncio
import contextlib

from chatserver.client import LiveClient
from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger, sign_in

CROWD = 30

SCALED_SECONDS = 180

DRAIN_SECONDS = 20

CLOSE_RESTART = 1012


async def test_servers_follow_the_connections_up_and_down(cluster: Cluster) -> None:
    await cluster.patch(
        {
            "chatserver": {
                "drainSeconds": DRAIN_SECONDS,
                "scaling": {"minReplicas": 1, "maxReplicas": 3, "scaleDownStabilizationSeconds": 0},
            }
        }
    )
    await cluster.servers(1, SCALED_SECONDS)
    await cluster.ready()
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=1, messages_per_second=2) as ledger:
        async with contextlib.AsyncExitStack() as crowd:
            for _ in range(CROWD):
                rest = await crowd.enter_async_context(await sign_in(cluster.url, tls=cluster.insecure))
                live = await crowd.enter_async_context(LiveClient(rest))
                await asyncio.wait_for(live.connected.wait(), SCALED_SECONDS)
            open_connections = CROWD + len(ledger.clients)
            # ceil(32 / 11) = 3
            await cluster.patch({"chatserver": {"targetConnectionsPerServer": 11}})
            await cluster.servers(3, SCALED_SECONDS)
            assert [client.closes for client in ledger.clients] == [[], []], "a scale-up cuts nobody"

            async def counted() -> bool:
                chat = await cluster.get("chatcluster", "demo")
                return bool(chat["status"]["connections"] >= open_connections)

            await until(counted, "status.connections shows them", 60)
        await cluster.servers(1, SCALED_SECONDS)
        for client in ledger.clients:
            moved = [code for code in client.closes if code not in {CLOSE_RESTART, 1000}]
            assert not moved, f"cut by {moved}; asked to move {client.reconnects_asked} times"
        account = await ledger.finish()
        tell(account)
        assert account.clean, account
