"""A Prometheus in the cluster scrapes every part of a chat through the network policies, as the documentation says.

Once as the Prometheus Operator runs it, from the chart's PodMonitors and PrometheusRule; once by itself, with the
documented jobs; and once in a namespace that `metricsFrom` does not name, which finds every pod and reaches none.
All programs are built from their Go modules the first time, for some ten minutes, so this is in `make soak`.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support import prometheusoperator, prometheuspods, scrapes
from tests.support.cluster import Cluster, is_ready, until
from tests.support.completeness import PARTS
from tests.support.findings import tell
from tests.support.monitored import api_proxy, targets
from tests.support.nodes import Nodes
from tests.support.pages import Admin, commands
from tests.support.prometheus import PrometheusApi
from tests.support.scratchimage import archive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.soak

READY_SECONDS = 240
SCRAPED_SECONDS = 120
EVALUATED_SECONDS = 360
"""The slowest group of rules is evaluated each four minutes."""

MONITORING = prometheusoperator.NAMESPACE
OUTSIDE = "outside"
"""A namespace that `metricsFrom` does not name."""

LABELS = ("namespace", "chatcluster", "component", "pod")

Found = set[tuple[str, ...]]
"""Targets by the values of LABELS."""


@dataclass(frozen=True)
class Installed:
    """The Prometheus Operator and its kinds on the cluster.

    Attributes:
        image: Of Prometheus and of the program that reloads it.
        proxy: Port of the API server's proxy on this machine.
    """

    image: str
    proxy: int

    def prometheus(self, pod: str, namespace: str = MONITORING) -> PrometheusApi:
        """The one in a pod."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{prometheuspods.PORT}/proxy"
        return PrometheusApi(f"http://127.0.0.1:{self.proxy}{path}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installed(made: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    """The image on the nodes, the kinds, two namespaces with the documented rights, and the Prometheus Operator."""
    folder = tmp_path_factory.mktemp("prometheus")
    log = folder / "build.log"
    names = ("prometheus", "prometheus-config-reloader")
    programs = await asyncio.to_thread(prometheusoperator.built, *names, log=log)
    kinds = await asyncio.to_thread(prometheusoperator.kinds, log)
    image = f"chatcluster.local/monitoring:{programs['prometheus'].parent.name.rpartition('-')[2]}"
    nodes = Nodes.of(made)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.forget, image)
        await nodes.load(await asyncio.to_thread(archive, image, programs, folder))
        await stack.enter_async_context(_applied(made, kinds))
        for namespace in (MONITORING, OUTSIDE):
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await stack.enter_async_context(_objects(made, space, *prometheuspods.rights(namespace)))
        proxy = await stack.enter_async_context(api_proxy(made))
        stack.enter_context(prometheusoperator.operating(made.kubeconfig, folder, image))
        yield Installed(image, proxy)


@asynccontextmanager
async def _applied(cluster: Cluster, kinds: Sequence[Path]) -> AsyncIterator[None]:
    """The kinds of files; afterwards they go, with all objects of them."""
    files = [part for kind in kinds for part in ("-f", str(kind))]
    await cluster.kubectl("apply", "--server-side", *files)
    try:
        await cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
        yield
    finally:
        await cluster.kubectl("delete", *files, "--ignore-not-found")


@asynccontextmanager
async def _objects(cluster: Cluster, *manifests: Mapping[str, Any]) -> AsyncIterator[None]:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    await cluster.apply(text)
    try:
        yield
    finally:
        await cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text, timeout_seconds=READY_SECONDS)


@pytest_asyncio.fixture(loop_scope="session")
async def documented(cluster: Cluster, admin: Admin) -> AsyncIterator[Cluster]:
    """Chat and operator as the page has them, with a probe: every part that has metrics; afterwards as they were."""
    before = (await cluster.get("chatcluster", "demo"))["spec"]["networkPolicies"]["metricsFrom"]
    try:
        await cluster.patch(_monitored(prometheuspods.peers(), probe=True))
        async with _release(admin):
            (open_policy,) = commands(scrapes.PAGE, "Let Prometheus through the network policies")
            await admin.types(open_policy)
            await until(lambda: _probing(cluster), "the probe runs", READY_SECONDS)
            await cluster.settled()
            yield cluster
    finally:
        await cluster.patch(_monitored(before, probe=False))
        await cluster.ready()


def _monitored(peers: list[dict[str, Any]], *, probe: bool) -> dict[str, Any]:
    return {"networkPolicies": {"metricsFrom": peers}, "monitoring": {"probe": {"enabled": probe}}}


@pytest.fixture
def admin(cluster: Cluster, tmp_path: Path) -> Admin:
    return Admin(cluster, tmp_path)


@asynccontextmanager
async def _release(admin: Admin) -> AsyncIterator[None]:
    """The chart's release can be upgraded; afterwards it is rolled back."""
    history = json.loads(await admin.types("helm history chatcluster -n chatcluster-system --max 1 -o json"))
    try:
        yield
    finally:
        await admin.types(f"helm rollback chatcluster {history[-1]['revision']} -n chatcluster-system --wait")


async def _probing(cluster: Cluster) -> bool:
    pods = await cluster.pods("probe")
    return bool(pods) and all(is_ready(pod) for pod in pods)


async def _pod_is_ready(cluster: Cluster, name: str, namespace: str) -> None:
    async def ready() -> bool:
        pod = await cluster.get("pod", name, namespace=namespace)
        return pod is not None and is_ready(pod)

    await until(ready, f"pod {namespace}/{name} is ready", READY_SECONDS)


def _labelled(found: Iterable[Mapping[str, str]]) -> Found:
    return {tuple(labels.get(name, "") for name in LABELS) for labels in found}


async def _expected(cluster: Cluster, installed: Installed) -> Found:
    """The targets that the pods on the cluster are, of every part."""
    found = _labelled(target.labels for target in await targets(cluster, installed.proxy))
    assert {labels[2] for labels in found} == {part.component for part in PARTS}
    return found


async def _scrapes_everything(cluster: Cluster, installed: Installed, prometheus: PrometheusApi) -> None:
    """Wait until exactly the cluster's targets are up, and each part's metrics and all rules are there."""

    async def up() -> bool:
        listed = prometheus.targets()
        answering = _labelled(one["labels"] for one in listed if one["health"] == "up")
        return len(listed) == len(answering) and answering == await _expected(cluster, installed)

    def instead() -> str:
        return "\n".join(f"{one['labels']}: {one['health']} {one['lastError']}" for one in prometheus.targets())

    seconds = await until(up, "all targets are up, and no others", SCRAPED_SECONDS, otherwise=instead)
    for part in PARTS:
        await prometheus.has(f'{{__name__=~"{part.prefix}.+", chatcluster="demo", namespace="chat"}}')

    def unhealthy() -> str:
        return "\n".join(f"{one['name']}: {one['health']} {one.get('lastError', '')}" for one in _unhealthy(prometheus))

    async def evaluated() -> bool:
        return not _unhealthy(prometheus)

    await until(evaluated, "all rules are evaluated", EVALUATED_SECONDS, otherwise=unhealthy)
    tell(f"{len(prometheus.targets())} targets up after {seconds:.1f} s, {len(prometheus.rules())} rules evaluated")


def _unhealthy(prometheus: PrometheusApi) -> list[dict[str, Any]]:
    rules = prometheus.rules()
    assert rules, "no rule is loaded"
    return [rule for rule in rules if rule["health"] != "ok"]


async def test_the_prometheus_operators_prometheus_scrapes_every_part(
    documented: Cluster, admin: Admin, installed: Installed
) -> None:
    before = await documented.uids()
    (install,) = commands(scrapes.PAGE, "With the Prometheus Operator")
    await admin.types(install)
    async with _objects(documented, prometheusoperator.prometheus(installed.image)):
        pod = f"prometheus-{prometheusoperator.NAME}-0"
        await _pod_is_ready(documented, pod, MONITORING)
        await _scrapes_everything(documented, installed, installed.prometheus(pod))
    assert await documented.uids() == before, "monitors and rules restart no pod"


async def test_a_plain_prometheus_scrapes_every_part_and_one_elsewhere_none(
    documented: Cluster, installed: Installed
) -> None:
    async with (
        _objects(documented, *prometheuspods.plain("plain", MONITORING, installed.image)),
        _objects(documented, *prometheuspods.plain("plain", OUTSIDE, installed.image)),
    ):
        for namespace in (MONITORING, OUTSIDE):
            await _pod_is_ready(documented, "plain", namespace)
        await _scrapes_everything(documented, installed, installed.prometheus("plain"))
        stranger = installed.prometheus("plain", OUTSIDE)

        async def refused() -> bool:
            listed = stranger.targets()
            down = _labelled(one["labels"] for one in listed if one["health"] == "down")
            return len(listed) == len(down) and down == await _expected(documented, installed)

        def instead() -> str:
            return "\n".join(f"{one['labels']}: {one['health']} {one['lastError']}" for one in stranger.targets())

        await until(refused, "the other one finds all targets and reaches none", SCRAPED_SECONDS, otherwise=instead)
        assert not [sample for sample in stranger.query("max_over_time(up[1h])") if sample.value], (
            "it reached none before"
        )
