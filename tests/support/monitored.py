"""A Prometheus and an Alertmanager beside a local cluster: they follow its pods, and tell a test what would have paged.

Debian's Prometheus has no service discovery of Kubernetes, and the pods' addresses are not routed on this machine. So
`kubectl proxy` leads to each page through the API server, and a task writes the pods into a file, with the labels of
the documented scrape configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatoperator.reconcile.series import COMPONENTS
from localcluster.deploy import OPERATOR_NAMESPACE
from tests.support.alertmanager import Alertmanager, Notice, Receiver
from tests.support.background import background
from tests.support.cluster import ROOT, Cluster, environment
from tests.support.prometheus import Prometheus, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

FOLLOW_SECONDS = 1.0
"""Between two looks at which pods there are."""

PORTS = {
    "chatserver": 9090,
    "ingress": 8404,
    "postgres": 8010,
    "bus": 9121,
    "backup": 9188,
    "probe": 9090,
    "operator": 9090,
}
"""Where each component has its page."""

NAMES = {part: component for component, part in COMPONENTS.items()}
"""Of the parts, as the label of their series says."""

CHATS = "app.kubernetes.io/managed-by=chatcluster-operator"
OPERATOR = "app.kubernetes.io/name=chatcluster-operator"

SERVING = re.compile(rb"Starting to serve on 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Monitored:
    """What watches the cluster.

    Attributes:
        prometheus: It scrapes each second.
        receiver: It remembers what Alertmanager sent.
    """

    prometheus: Prometheus
    receiver: Receiver

    async def fires(self, alert: str, seconds: float, **labels: str) -> Notice:
        """Wait until an alert with these labels is sent.

        Raises:
            AssertionError: It is not in time, with what came instead.
        """
        return await asyncio.to_thread(self.receiver.wait_for, alert, "firing", seconds, **labels)

    async def resolves(self, alert: str, seconds: float, **labels: str) -> Notice:
        """Wait until an alert is sent as resolved.

        Raises:
            AssertionError: It is not in time, with what came instead.
        """
        return await asyncio.to_thread(self.receiver.wait_for, alert, "resolved", seconds, **labels)


@contextlib.asynccontextmanager
async def monitored(
    cluster: Cluster, rules: Mapping[str, str], inhibit_rules: Sequence[Mapping[str, Any]] = ()
) -> AsyncIterator[Monitored]:
    """Watch a cluster until the block ends.

    Args:
        cluster: Whose chats and operator are scraped.
        rules: Texts of rule files by name.
        inhibit_rules: As in Alertmanager's configuration.
    """
    async with api_proxy(cluster) as port:
        with (
            Receiver() as receiver,
            Alertmanager(receiver, inhibit_rules=inhibit_rules) as alertmanager,
            Prometheus(rules=rules, alertmanager=alertmanager.address) as prometheus,
        ):
            prometheus.scrape(*await targets(cluster, port))
            async with background(_follow(cluster, prometheus, port)):
                await prometheus.scraped()
                yield Monitored(prometheus, receiver)


@contextlib.asynccontextmanager
async def api_proxy(cluster: Cluster) -> AsyncIterator[int]:
    """Run `kubectl proxy` on loopback; gives its port."""
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "proxy", "--port=0", "--address=127.0.0.1"),
        stdout=asyncio.subprocess.PIPE,
        env=environment() | {"KUBECONFIG": str(cluster.kubeconfig)},
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        found = SERVING.match(line)
        assert found, f"kubectl proxy said {line!r}"
        yield int(found[1])
    finally:
        process.terminate()
        await process.wait()


async def _follow(cluster: Cluster, prometheus: Prometheus, port: int) -> None:
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        # The API server may be what a test has cut off; the pods known last stay targets.
        with contextlib.suppress(AssertionError):
            prometheus.scrape(*await targets(cluster, port))


async def targets(cluster: Cluster, port: int) -> list[Target]:
    chats, operators = await asyncio.gather(
        cluster.everywhere("pods", CHATS), cluster.get("pods", namespace=OPERATOR_NAMESPACE, selector=OPERATOR)
    )
    return [_target(pod, port) for pod in (*chats, *operators) if _has_page(pod)]


def _has_page(pod: Mapping[str, Any]) -> bool:
    """Kubernetes' own discovery gives a pod from its address on until it has ended."""
    component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
    return component in PORTS and bool(pod["status"].get("podIP")) and pod["status"]["phase"] in {"Pending", "Running"}


def _target(pod: Mapping[str, Any], port: int) -> Target:
    metadata = pod["metadata"]
    labels = metadata["labels"]
    component = labels["app.kubernetes.io/component"]
    made = {
        "namespace": metadata["namespace"],
        "component": NAMES.get(component, component),
        "pod": metadata["name"],
    }
    if component != "operator":
        made["chatcluster"] = labels["app.kubernetes.io/instance"]
    page = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}:{PORTS[component]}/proxy/metrics"
    return Target(f"127.0.0.1:{port}", made, page)
