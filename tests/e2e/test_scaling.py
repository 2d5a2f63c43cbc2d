"""The servers follow the connections, and nobody is cut but by `reconnect` and 1012.

The HPA on real metrics is one of `make soak`'s: in `make test` Kubernetes' controller moves the servers of an API
server alone (tests/integration/operator/test_external_scaling.py).
"""

import asyncio
import contextlib

import pytest

from chatserver.client import LiveClient
from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger, sign_in

CROWD = 30

SCALED_SECONDS = 180

DRAIN_SECONDS = 20

MOVED = {1000, 1012}
"""How a connection ends whose client was asked to go elsewhere, or whose server leaves."""


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
            # A server with more than its share asks some to move.
            assert {code for client in ledger.clients for code in client.closes} <= {1000}, "a scale-up cuts nobody"
            assert all(len(client.closes) <= client.reconnects_asked for client in ledger.clients)

            async def counted() -> bool:
                chat = await cluster.get("chatcluster", "demo")
                return bool(chat["status"]["connections"] >= open_connections)

            await until(counted, "status.connections shows them", 60)
        await cluster.servers(1, SCALED_SECONDS)
        for client in ledger.clients:
            moved = [code for code in client.closes if code not in MOVED]
            assert not moved, f"cut by {moved}; asked to move {client.reconnects_asked} times"
        account = await ledger.finish()
        tell(account)
        assert account.clean, account


HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: demo, namespace: chat}
spec:
  scaleTargetRef: {apiVersion: chatcluster.io/v1alpha1, kind: ChatCluster, name: demo}
  minReplicas: 2
  maxReplicas: 3
  metrics:
    - {type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 1m}}}
"""
"""One thousandth of a core a server: any load wants the most."""


@pytest.mark.soak
async def test_kubernetes_own_autoscaler_and_kubectl_scale_move_the_servers(cluster: Cluster) -> None:
    """By the scale subresource, from what metrics-server measures; the operator follows and does not fight."""
    await cluster.patch({"chatserver": {"scaling": {"mode": "External", "replicas": 2}}})
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=1, messages_per_second=5) as ledger:
        try:
            await cluster.apply(HPA)
            took = await until(lambda: _asks(cluster, 3), "the HPA has asked for a third server", SCALED_SECONDS)
            await cluster.servers(3, SCALED_SECONDS)
            hpa = await cluster.get("hpa", "demo")
            measured = hpa["status"]["currentMetrics"][0]["resource"]["current"]["averageValue"]
            tell(f"an HPA on the ChatCluster asked for a third server after {took:.0f} s, at {measured} of a core each")
            assert (await cluster.condition("ScalingActive"))["reason"] == "External"
        finally:
            await cluster.kubectl("delete", "hpa", "demo", "-n", "chat")
        await cluster.kubectl("scale", "chatcluster/demo", "-n", "chat", "--replicas=2")
        took = await until(lambda: _asks(cluster, 2), "two servers are asked for", SCALED_SECONDS, poll_seconds=0.2)
        tell(f"kubectl scale reached the Deployment after {took:.1f} s")
        account = await ledger.finish()
        tell(account)
        assert account.clean, account


async def _asks(cluster: Cluster, replicas: int) -> bool:
    """Whether the operator asks Kubernetes for this many servers."""
    return bool((await cluster.get("deployment", "demo-chatserver"))["spec"]["replicas"] == replicas)
