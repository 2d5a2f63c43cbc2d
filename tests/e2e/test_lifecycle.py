"""What becomes of the data: retained, deleted, and a namespace that can always go."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from chatcluster_client import Problem, RestClient
from tests.support.cluster import ROOT, Cluster, until
from tests.support.findings import tell
from tests.support.ledger import sign_in

GONE_SECONDS = 120

DEMO = "app.kubernetes.io/instance=demo"


async def test_retain_brings_messages_and_credentials_back(cluster: Cluster) -> None:
    async with await sign_in(cluster.url, tls=cluster.insecure) as ana:
        sent = await ana.send("before", client_id=str(uuid.uuid4()), to=ana.username)
        secret = await cluster.get("secret", "demo-database")
        claim = await cluster.get("pvc", "demo-postgres-data")
        await _delete_chat(cluster)
        assert (await cluster.get("secret", "demo-database"))["data"] == secret["data"]
        await _recreate(cluster)
        assert (await cluster.get("pvc", "demo-postgres-data"))["metadata"]["uid"] == claim["metadata"]["uid"]
        assert [row["message_id"] for row in await _polled(ana)] == [sent["message_id"]]


async def test_delete_takes_the_volume_along(cluster: Cluster) -> None:
    await cluster.patch({"deletionPolicy": "Delete"})

    async def owned() -> bool:
        objects = [await cluster.get("pvc", "demo-postgres-data"), await cluster.get("secret", "demo-database")]
        return all(one["metadata"].get("ownerReferences") for one in objects)

    await until(owned, "the claim and the credentials belong to the ChatCluster", 60)
    async with await sign_in(cluster.url, tls=cluster.insecure) as ana:
        await ana.send("before", client_id=str(uuid.uuid4()), to=ana.username)
        await _delete_chat(cluster)

        async def gone() -> bool:
            return not await cluster.get("pvc", "demo-postgres-data") and not await cluster.get(
                "secret", "demo-database"
            )

        await until(gone, "the claim and the credentials are gone", GONE_SECONDS)
        await _recreate(cluster)
    async with await sign_in(cluster.url, tls=cluster.insecure) as new:
        assert await _polled(new) == []


async def test_deleting_the_statefulset_alone_loses_nothing_under_both_policies(cluster: Cluster) -> None:
    async with await sign_in(cluster.url, tls=cluster.insecure) as ana:
        for policy in ("Retain", "Delete"):
            await cluster.patch({"deletionPolicy": policy})
            await cluster.ready()
            sent = await ana.send(policy, client_id=str(uuid.uuid4()), to=ana.username)
            (pod,) = await cluster.pods("postgres")
            await cluster.kubectl("delete", "statefulset", "demo-postgres", "-n", "chat")
            # Status follows the world by a moment.
            await cluster.replaced("postgres", pod["metadata"]["uid"], GONE_SECONDS)
            await cluster.ready()
            assert (await _polled(ana))[-1]["message_id"] == sent["message_id"]


async def test_a_namespace_goes_while_the_operator_is_away(cluster: Cluster) -> None:
    async with _operator_away(cluster):
        # It takes no new pods from here on.
        await cluster.kubectl("delete", "namespace", "chat", "--wait=false")
        await _end_at_once(cluster)

        async def gone() -> bool:
            return await cluster.get("namespace", "chat", namespace="") is None

        await until(gone, "the namespace is gone", GONE_SECONDS)
    await _recreate(cluster)


@contextlib.asynccontextmanager
async def _operator_away(cluster: Cluster) -> AsyncIterator[None]:
    operator = ("deployment/chatcluster-operator", "-n", "chatcluster-system")
    await cluster.kubectl("scale", *operator, "--replicas=0")
    await cluster.kubectl(
        *("wait", "pod", "-n", "chatcluster-system", "-l", "app.kubernetes.io/name=chatcluster-operator"),
        *("--for=delete", "--timeout=60s"),
    )
    try:
        yield
    finally:
        await cluster.kubectl("scale", *operator, "--replicas=1")


async def _delete_chat(cluster: Cluster) -> None:
    await cluster.kubectl("delete", "chatcluster", "demo", "-n", "chat", "--timeout=60s")

    async def left_alone() -> bool:
        return not await cluster.get("replicasets", selector=DEMO)

    await until(left_alone, "the ReplicaSets are gone", GONE_SECONDS)
    await _end_at_once(cluster)

    async def stopped() -> bool:
        return not await cluster.get("pods", selector=DEMO)

    await until(stopped, "all pods of the ChatCluster are gone", GONE_SECONDS)


async def _end_at_once(cluster: Cluster) -> None:
    """Kill the pods that move their clients for half a minute before they end, when nothing makes them again."""
    stateless = f"{DEMO},app.kubernetes.io/component in (chatserver, ingress)"
    await cluster.kubectl("delete", "pods", "-n", "chat", "-l", stateless, "--force", "--grace-period=0")


async def _recreate(cluster: Cluster) -> None:
    began = time.monotonic()
    await cluster.kubectl("apply", "-f", str(ROOT / "examples" / "minimal.yaml"))
    await cluster.ready(300)
    tell(f"the smallest chat applied: Ready after {time.monotonic() - began:.0f} s")


async def _polled(rest: RestClient) -> list[dict[str, Any]]:
    """All messages, as a client polls them that comes again when the server asks it to."""
    rows: list[dict[str, Any]] = []

    async def answered() -> bool:
        try:
            rows[:], _ = await rest.poll(None)
        except Problem as problem:
            if not problem.retryable:
                raise
            return False
        return True

    await until(answered, "the servers answer again", GONE_SECONDS)
    return rows
