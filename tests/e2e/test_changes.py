"""A life of changes, good and bad, with people chatting all the while. Run by `make soak`: it takes some minutes.

Upgrades are in test_pages.py, as their page has them. What needs no pods is in the integration tests of the operator,
and runs with `make test`.
"""

import asyncio
import time
from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.readiness import READY_FALSE_SECONDS, ReadyWatch
from tests.support.running import running, same

pytestmark = pytest.mark.soak

CHANGED_SECONDS = 300
TOLD_SECONDS = 120
SWEEPS_SECONDS = 35
"""Two sweeps and a bit, in which an operator with something to do would have done it."""

NO_IMAGE = "images.invalid/chatserver:1"
"""Nobody can pull it."""


async def test_bad_changes_stop_by_themselves_and_are_mended_forward_or_back(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        await cluster.settled()
        before = await running(cluster)
        images = (await cluster.get("chatcluster", "demo"))["status"]["images"]

        # An image whose migration fails: PostgreSQL's knows no `migrate`.
        began = time.monotonic()
        await cluster.patch({"chatserver": {"image": images["postgres"]}})
        await cluster.says("Progressing", "MigrationFailing", TOLD_SECONDS)
        told = await cluster.condition("Progressing")
        tell(f"an image that cannot migrate, told after {time.monotonic() - began:.0f} s: {told['message']}")
        assert "exited with code" in told["message"]
        assert "The previous version keeps serving" in told["message"]
        assert (await running(cluster)).pods == before.pods
        await _change(cluster, {"chatserver": {"image": None}})
        assert await same(cluster, before), "putting back the old image restarts nothing"
        await until(lambda: _one_job(cluster), "the failing Job is gone", TOLD_SECONDS)

        # Servers that never become ready: a setting that they refuse.
        began = time.monotonic()
        await cluster.patch({"chatserver": {"env": [{"name": "CHAT_HEARTBEAT_SECONDS", "value": "often"}]}})
        await cluster.says("Progressing", "RolloutFailing", TOLD_SECONDS)
        told = await cluster.condition("Progressing")
        tell(f"servers that do not start, told after {time.monotonic() - began:.0f} s: {told['message']}")
        assert "container chatserver exited with code 2" in told["message"]
        assert before.pods <= (await running(cluster)).pods, "the old ones stay"
        assert not ready.bad(), "nobody was without an answer so far"

        # Mended forward, by a change that brings more, while pods are unhealthy.
        took = await _change(
            cluster,
            {
                "chatserver": {
                    "env": [{"name": "CHAT_HEARTBEAT_SECONDS", "value": "4"}],
                    "resources": {"requests": {"memory": "97Mi"}},
                    "podTemplate": {"annotations": {"example.com/team": "chat"}, "labels": {"team": "chat"}},
                }
            },
        )
        tell(f"mended forward, with other resources and a pod template: settled after {took:.0f} s")
        for server in await cluster.pods("chatserver"):
            container = server["spec"]["containers"][0]
            assert container["resources"]["requests"]["memory"] == "97Mi"
            assert {"name": "CHAT_HEARTBEAT_SECONDS", "value": "4"} in container["env"]
            assert server["metadata"]["labels"]["team"] == "chat"
            assert server["metadata"]["annotations"]["example.com/team"] == "chat"
        assert not ready.bad(), "nobody was without an answer so far"

        # More memory than there is shows only when PostgreSQL starts: it goes on with the last good parameters.
        await cluster.patch({"database": {"parameters": {"shared_buffers": "900GB"}}})
        await cluster.says("Progressing", "ParametersRefused", TOLD_SECONDS)
        told = await cluster.condition("Progressing")
        tell(f"parameters that PostgreSQL does not start with: {told['message']}")
        took = await _change(cluster, {"database": {"parameters": {"shared_buffers": "32MB"}}})
        tell(f"corrected: settled after {took:.0f} s")
        assert (await cluster.psql("SHOW shared_buffers")).strip() == "32MB"
        await _verdict(ledger)


@pytest.mark.parametrize(
    ("part", "bad", "told"),
    [
        ("chatserver", {"image": NO_IMAGE}, ("MigrationFailing", "ImagePull")),
        ("chatserver", {"podTemplate": {"nodeSelector": {"kubernetes.io/os": "plan9"}}}, ("MigrationFailing", "node")),
        (
            "chatserver",
            {"resources": {"requests": {"cpu": "999"}, "limits": {"cpu": "999"}}},
            ("MigrationFailing", "cpu"),
        ),
        (
            "chatserver",
            {"resources": {"requests": {"cpu": "999"}}},
            ("ApplyFailed", "must be less than or equal to cpu limit"),
        ),
        ("database", {"storage": {"size": "20Gi"}}, ("VolumeNotExpandable", "20Gi")),
        ("ingress", {"image": NO_IMAGE}, ("RolloutFailing", "ImagePull")),
        ("ingress", {"resources": {"requests": {"cpu": "999"}, "limits": {"cpu": "999"}}}, ("RolloutFailing", "cpu")),
    ],
)
async def test_what_cannot_run_is_told_and_leaves_what_runs_alone(
    cluster: Cluster, part: str, bad: dict[str, Any], told: tuple[str, str]
) -> None:
    """And what it said before is what there is again, whether the bad one was a stateless part's or its migration's."""
    reason, words = told
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        await cluster.settled()
        before = await running(cluster)
        took = await _told(cluster, {part: bad}, reason, words)
        assert before.pods <= (await running(cluster)).pods
        back = await _change(cluster, {part: dict.fromkeys(bad)})
        tell(f"{part} {bad}: {reason} after {took:.0f} s; put right: settled after {back:.0f} s")
        assert (await running(cluster)).pods == before.pods
        assert not ready.bad(), "nobody was without an answer"
        await _verdict(ledger)


async def test_the_one_database_is_mended_while_its_pod_is_unhealthy(cluster: Cluster) -> None:
    """Through two bad templates in a row: one with OrderedReady would stay at the first (kubernetes#67250)."""
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        took = await _told(cluster, {"database": {"image": NO_IMAGE}}, "RolloutFailing", "ImagePull")
        await ready.becomes("False", TOLD_SECONDS)
        tell(f"a database image that does not exist: told after {took:.0f} s, {ready.told[-1].message}")
        too_large = {"image": None, "resources": {"requests": {"cpu": "999"}, "limits": {"cpu": "999"}}}
        took = await _told(cluster, {"database": too_large}, "RolloutFailing", "cpu")
        tell(f"then one that no node can hold: told after {took:.0f} s")
        back = await _change(cluster, {"database": {"resources": {"requests": {"cpu": "60m"}, "limits": None}}})
        await ready.becomes("True", TOLD_SECONDS)
        tell(f"then a good one: settled after {back:.0f} s")
        (pod,) = await cluster.pods("postgres")
        assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "60m"
        await _verdict(ledger)


async def test_paused_changes_nothing_tells_the_truth_and_resumed_converges(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        await cluster.settled()
        await cluster.patch({"paused": True})
        await cluster.says("Paused", "Paused", TOLD_SECONDS)
        before = await running(cluster)
        await cluster.patch({"ingress": {"replicas": 3}})
        await cluster.kubectl("delete", "pdb", "demo-ingress", "-n", "chat")
        await asyncio.sleep(SWEEPS_SECONDS)
        assert (await running(cluster)).pods == before.pods
        assert await cluster.get("pdb", "demo-ingress") is None
        assert not ready.bad()
        # Truth, while nobody repairs: Kubernetes itself brings the pod back, where it may.
        async with cluster.without_new_pods():
            await cluster.kubectl("delete", "pod", "demo-postgres-0", "-n", "chat", "--force", "--grace-period=0")
            await ready.becomes("False", TOLD_SECONDS)
        await ready.becomes("True", TOLD_SECONDS)
        began = time.monotonic()
        await cluster.patch({"paused": False})
        first = await until(lambda: _proxies(cluster, 3), "the change is made", TOLD_SECONDS, poll_seconds=0.1)
        tell(f"resumed: first write after {first:.1f} s")
        assert first <= READY_FALSE_SECONDS
        await until(lambda: cluster.get("pdb", "demo-ingress"), "the budget is back", TOLD_SECONDS)
        await cluster.says("Progressing", "Settled", TOLD_SECONDS)
        tell(f"resumed: settled after {time.monotonic() - began:.0f} s")
        await _verdict(ledger)


async def _change(cluster: Cluster, spec: dict[str, Any]) -> float:
    """Merge into the spec, and wait until all is as it asks; returns the seconds."""
    await cluster.patch(spec)
    return await cluster.settled(CHANGED_SECONDS)


async def _told(cluster: Cluster, spec: dict[str, Any], reason: str, words: str) -> float:
    """Merge into the spec, and wait until Progressing gives a reason with some words; returns the seconds."""
    await cluster.patch(spec)

    async def told() -> bool:
        progressing = await cluster.condition("Progressing")
        return bool(progressing["reason"] == reason and words in progressing["message"])

    return await until(told, f"Progressing says {reason} with {words!r}", TOLD_SECONDS)


async def _one_job(cluster: Cluster) -> bool:
    return len(await cluster.get("jobs", selector="app.kubernetes.io/instance=demo")) == 1


async def _proxies(cluster: Cluster, replicas: int) -> bool:
    return bool((await cluster.get("deployment", "demo-ingress"))["spec"]["replicas"] == replicas)


async def _verdict(ledger: Ledger) -> None:
    account = await ledger.finish()
    tell(account)
    assert account.clean, account
