"""A life of changes, good and bad, with people chatting all the while. Run by `make soak`: it takes some minutes.

What of it needs no pods is in the integration tests of the operator, and runs with `make test`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.readiness import READY_FALSE_SECONDS, ReadyWatch

pytestmark = pytest.mark.soak

RELEASE = "99.0.0"
"""A newer release, made up: the same images by their longer names, so that Kubernetes takes them for others."""

CHANGED_SECONDS = 300
TOLD_SECONDS = 120
SWEEPS_SECONDS = 35
"""Two sweeps and a bit, in which an operator with something to do would have done it."""

PART_PODS = ("chatserver", "ingress", "postgres")


async def test_a_newer_operator_restarts_nothing_and_its_release_comes_when_it_is_named(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger:
        before = await _running(cluster)
        async with _newer_operator(cluster):
            await _says(cluster, "UpgradeAvailable", "NewerOperator")
            await asyncio.sleep(SWEEPS_SECONDS)
            assert await _running(cluster) == before, "an operator upgrade touches no child and no pod"

            progress = _Progress(cluster)
            async with progress:
                took = await _change(cluster, {"version": RELEASE})
            tell(f"release {RELEASE} named: settled after {took:.0f} s, by {' -> '.join(progress.reasons)}")
            assert progress.in_order("Migrating", "Rolling", "Settled")
            status = (await cluster.get("chatcluster", "demo"))["status"]
            assert status["version"] == RELEASE
            assert all(image.startswith("docker.io/library/") for image in status["images"].values())
            after = await _running(cluster)
            assert not after.pods & before.pods, "every part runs the new release"

            await cluster.patch({"version": "0.0.1"})
            await _says(cluster, "Progressing", "InvalidSpec")
            told = await cluster.condition("Progressing")
            assert f"this operator brings release {RELEASE}" in told["message"]
            await asyncio.sleep(SWEEPS_SECONDS)
            assert await _running(cluster) == after, "a release that the operator does not bring changes nothing"
            assert (await cluster.condition("Ready"))["status"] == "True"
            await cluster.patch({"version": RELEASE})
            await _says(cluster, "Progressing", "Settled")
        # Back: the older operator brings its own release again.
        await _change(cluster, {"version": await _operators_release(cluster)})
        await _verdict(ledger)


async def test_bad_changes_stop_by_themselves_and_are_mended_forward_or_back(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        before = await _running(cluster)
        images = (await cluster.get("chatcluster", "demo"))["status"]["images"]

        # An image whose migration fails: PostgreSQL's knows no `migrate`.
        began = time.monotonic()
        await cluster.patch({"chatserver": {"image": images["postgres"]}})
        await _says(cluster, "Progressing", "MigrationFailing")
        told = await cluster.condition("Progressing")
        tell(f"an image that cannot migrate, told after {time.monotonic() - began:.0f} s: {told['message']}")
        assert "exit code" in told["message"]
        assert "What ran before goes on serving" in told["message"]
        assert (await _running(cluster)).pods == before.pods
        await _change(cluster, {"chatserver": {"image": None}})
        assert await _running(cluster) == before, "putting back the old image restarts nothing"
        await until(lambda: _one_job(cluster), "the failing Job is gone", TOLD_SECONDS)

        # Servers that never become ready: a setting that they refuse.
        began = time.monotonic()
        await cluster.patch({"chatserver": {"env": [{"name": "CHAT_HEARTBEAT_SECONDS", "value": "often"}]}})
        await _says(cluster, "Progressing", "RolloutFailing")
        told = await cluster.condition("Progressing")
        tell(f"servers that do not start, told after {time.monotonic() - began:.0f} s: {told['message']}")
        assert "container chatserver ended with exit code 2" in told["message"]
        assert before.pods <= (await _running(cluster)).pods, "the old ones stay"
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

        # The one database cannot stay beside a bad one; a parameter that it refuses, then a good one.
        await cluster.patch({"database": {"parameters": {"shared_buffers": "900GB"}}})
        await ready.becomes("False", TOLD_SECONDS)
        await _says(cluster, "Progressing", "RolloutFailing")
        told = await cluster.condition("Progressing")
        tell(f"a database that does not start: {told['message']}")
        assert "container postgres ended with exit code" in told["message"]
        took = await _change(cluster, {"database": {"parameters": {"shared_buffers": "32MB"}}})
        true = await ready.becomes("True", TOLD_SECONDS)
        tell(f"mended forward while its pod was unhealthy: settled after {took:.0f} s")
        assert true.status == "True"
        assert (await cluster.psql("SHOW shared_buffers")).strip() == "32MB"
        await _verdict(ledger)


async def test_paused_changes_nothing_tells_the_truth_and_resumed_converges(cluster: Cluster) -> None:
    async with Ledger(cluster.url, tls=cluster.insecure) as ledger, ReadyWatch(cluster) as ready:
        await cluster.patch({"paused": True})
        await _says(cluster, "Paused", "Paused")
        before = await _running(cluster)
        await cluster.patch({"ingress": {"replicas": 3}})
        await cluster.kubectl("delete", "pdb", "demo-ingress", "-n", "chat")
        await asyncio.sleep(SWEEPS_SECONDS)
        assert (await _running(cluster)).pods == before.pods
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
        await _says(cluster, "Progressing", "Settled")
        tell(f"resumed: settled after {time.monotonic() - began:.0f} s")
        await cluster.patch({"ingress": {"replicas": None}})
        await _verdict(ledger)


@dataclass(frozen=True)
class _Running:
    """What must not change where nothing shall.

    Attributes:
        pods: (name, uid, restarts) of every part's pods.
        children: (kind, name, generation) of what was applied.
    """

    pods: frozenset[tuple[str, str, int]]
    children: frozenset[tuple[str, str, int]]


async def _running(cluster: Cluster) -> _Running:
    pods = [pod for part in PART_PODS for pod in await cluster.pods(part)]
    children = [
        child
        for kind in ("deployment", "statefulset", "service", "configmap", "secret", "pvc", "pdb")
        for child in await cluster.get(kind, selector="app.kubernetes.io/instance=demo")
    ]
    return _Running(
        frozenset(
            (
                pod["metadata"]["name"],
                pod["metadata"]["uid"],
                sum(status["restartCount"] for status in pod["status"].get("containerStatuses", [])),
            )
            for pod in pods
        ),
        # What has no generation changes its resourceVersion with its content alone.
        frozenset(
            (
                child["kind"],
                child["metadata"]["name"],
                child["metadata"].get("generation") or int(child["metadata"]["resourceVersion"]),
            )
            for child in children
        ),
    )


@contextlib.asynccontextmanager
async def _newer_operator(cluster: Cluster) -> AsyncIterator[None]:
    """The operator as a newer release would run it."""
    own = await _operators_environment(cluster)
    newer = {name: f"docker.io/library/{value}" if "_IMAGE_" in name else RELEASE for name, value in own.items()}
    await _set_environment(cluster, newer)
    try:
        yield
    finally:
        await _set_environment(cluster, own)


async def _operators_environment(cluster: Cluster) -> dict[str, str]:
    """What says which release an operator brings."""
    deployment = await cluster.get("deployment", "chatcluster-operator", namespace="chatcluster-system")
    environment = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    wanted = ("CHATSERVER", "POSTGRES", "HAPROXY")
    names = ("CHATOPERATOR_VERSION", *(f"CHATOPERATOR_IMAGE_{part}" for part in wanted))
    return {name: environment[name] for name in names}


async def _operators_release(cluster: Cluster) -> str:
    return (await _operators_environment(cluster))["CHATOPERATOR_VERSION"]


async def _set_environment(cluster: Cluster, environment: dict[str, str]) -> None:
    operator = ("deployment/chatcluster-operator", "-n", "chatcluster-system")
    await cluster.kubectl("set", "env", *operator, *(f"{name}={value}" for name, value in environment.items()))
    await cluster.kubectl("rollout", "status", *operator, "--timeout=120s", timeout_seconds=150)


class _Progress:
    """Follows the reasons of Progressing, one entry for each that differs from the last."""

    def __init__(self, cluster: Cluster) -> None:
        self.reasons: list[str] = []
        self._cluster = cluster
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._follow())

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def in_order(self, *wanted: str) -> bool:
        """Whether these came in this order, whatever came between."""
        left = iter(self.reasons)
        return all(reason in left for reason in wanted)

    async def _follow(self) -> None:
        while True:
            reason = (await self._cluster.condition("Progressing"))["reason"]
            if self.reasons[-1:] != [reason]:
                self.reasons.append(reason)
            await asyncio.sleep(0.3)


async def _change(cluster: Cluster, spec: dict[str, Any]) -> float:
    """Merge into the spec, and wait until all is as it asks; returns the seconds."""
    await cluster.patch(spec)
    return await cluster.settled(CHANGED_SECONDS)


async def _says(cluster: Cluster, kind: str, reason: str) -> None:
    async def said() -> bool:
        return bool((await cluster.condition(kind)).get("reason") == reason)

    await until(said, f"{kind} says {reason}", TOLD_SECONDS)


async def _one_job(cluster: Cluster) -> bool:
    return len(await cluster.get("jobs", selector="app.kubernetes.io/instance=demo")) == 1


async def _proxies(cluster: Cluster, replicas: int) -> bool:
    return bool((await cluster.get("deployment", "demo-ingress"))["spec"]["replicas"] == replicas)


async def _verdict(ledger: Ledger) -> None:
    account = await ledger.finish()
    tell(account)
    assert account.clean, account
