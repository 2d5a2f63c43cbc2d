"""The cluster of the end-to-end tests: made once a run by the same command that users type, never the user's own."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import yaml

from localcluster.deploy import api_server_as_peer
from tests.support.cluster import ROOT, Cluster, run, until
from tests.support.clusterapi import connected
from tests.support.findings import tell
from tests.support.nodes import Nodes
from tests.support.valkey import BUSES

NAME = "e2e"
"""`make up NAME=e2e NODES=2`: its own Kubernetes, so that tests never touch the one a user works with."""

NODES = 2

EXAMPLE = ROOT / "examples" / "minimal.yaml"

UP_SECONDS = 35 * 60
"""With empty caches Kubernetes itself is built."""


CHANGED_SECONDS = 420
"""Until the chatservers have another bus: a quarter of them at a time, each within its drain."""


@pytest.fixture(scope="session")
def made(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Make the cluster, or find the one that is there and bring it up to date; CI removes it, a developer keeps it."""
    printed = asyncio.run(_localcluster("up", "--nodes", str(NODES), timeout_seconds=UP_SECONDS))
    found = re.search(r"^Chat is ready: (https://127\.0\.0\.1:\d+)/$", printed, re.MULTILINE)
    assert found, f"`make up` did not end as it promises:\n{printed}"
    kubeconfig = ROOT / ".local" / NAME / "kubeconfig"
    with connected(kubeconfig) as api:
        yield Cluster(NAME, kubeconfig, found[1], api)
    if request.session.testsfailed:
        for command in ("status", "logs"):
            tell(asyncio.run(_localcluster(command, timeout_seconds=60)))
    if os.environ.get("CI"):
        asyncio.run(_localcluster("down", timeout_seconds=300))


async def _localcluster(*command: str, timeout_seconds: float) -> str:
    return await run(sys.executable, "-m", "localcluster", "--name", NAME, *command, timeout_seconds=timeout_seconds)


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(made: Cluster) -> Cluster:
    """The cluster with `demo` as the example makes it, Ready; each test starts from there."""
    if await made.get("chatcluster", "demo") is None:
        await made.kubectl("apply", "-f", str(EXAMPLE))
    before = await _generation(made)
    _, example = yaml.load_all(EXAMPLE.read_text(), yaml.CSafeLoader)
    await made.patch(example["spec"])
    # What an earlier test patched in, and the example never had; null brings the default.
    patched = dict.fromkeys(("chatserver", "database", "deletionPolicy", "paused"))
    peers = api_server_as_peer(await _control_plane_address(made))
    await made.patch(
        {
            **patched,
            "ingress": dict.fromkeys(("image", "replicas", "resources")),
            "networkPolicies": {"enabled": None, "metricsFrom": peers},
        }
    )
    if await _generation(made) != before:
        # Ready says that of the generation before, while its pods are replaced.
        await made.settled()
    await made.ready()
    await until(lambda: _scaled(made), "the default two servers run", 120)
    await made.ready()
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=BUSES)
async def bus(made: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The bus of `demo` for all tests of a file about faults, which run with each in turn."""
    if request.param == "PostgreSQL":
        yield request.param
        return
    await made.patch({"bus": {"type": request.param}})
    try:
        await made.settled(CHANGED_SECONDS)
        yield request.param
    finally:
        await made.patch({"bus": None})
        await made.settled(CHANGED_SECONDS)


async def _generation(made: Cluster) -> int:
    chat = await made.get("chatcluster", "demo")
    return int(chat["metadata"]["generation"])


async def _control_plane_address(made: Cluster) -> str:
    (node,) = await made.get("nodes", selector="node-role.kubernetes.io/control-plane")
    return str(next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"))


@pytest.fixture
def nodes(cluster: Cluster) -> Nodes:
    """What its nodes are."""
    return Nodes.of(cluster)


async def _scaled(cluster: Cluster) -> bool:
    """Whether there are the example's two servers at least: more go only after a while."""
    chat = await cluster.get("chatcluster", "demo")
    return all(chat["status"].get(count, 0) >= 2 for count in ("readyReplicas", "desiredReplicas"))
