"""What of a chat must not change where nothing shall: its pods and its children, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.cluster import restarts

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

PART_PODS = ("chatserver", "ingress", "postgres")

CHILD_KINDS = ("deployment", "statefulset", "service", "configmap", "secret", "pvc", "pdb", "networkpolicy")


@dataclass(frozen=True, slots=True)
class RunningPod:
    """A pod, which is another one when its containers were restarted."""

    name: str
    uid: str
    restarts: int
    image_tag: str


@dataclass(frozen=True, slots=True)
class Running:
    """What runs.

    Attributes:
        pods: Every part's that are not on their way out.
        children: (kind, name, version) of what was applied.
    """

    pods: frozenset[RunningPod]
    children: frozenset[tuple[str, str, str]]


async def same(cluster: Cluster, before: Running) -> bool:
    """Whether nothing has changed.

    Raises:
        AssertionError: Something has; says what.
    """
    after = await running(cluster)
    differing = (after.pods ^ before.pods) | (after.children ^ before.children)
    assert not differing, sorted(map(str, differing))
    return True


async def running(cluster: Cluster) -> Running:
    """Look at `demo`."""
    pods = [pod for part in PART_PODS for pod in await cluster.pods(part)]
    children = [
        child for kind in CHILD_KINDS for child in await cluster.get(kind, selector="app.kubernetes.io/instance=demo")
    ]
    return Running(
        frozenset(
            RunningPod(
                name=pod["metadata"]["name"],
                uid=pod["metadata"]["uid"],
                restarts=restarts(pod),
                image_tag=pod["spec"]["containers"][0]["image"].rpartition(":")[2],
            )
            for pod in pods
        ),
        frozenset((child["kind"], child["metadata"]["name"], _version(child)) for child in children),
    )


def _version(child: dict[str, Any]) -> str:
    """What changes with its content alone."""
    metadata = child["metadata"]
    if child["kind"] == "PersistentVolumeClaim":
        # Stored once more at its first repeated apply, unchanged.
        return str(child["spec"]["resources"])
    return str(metadata.get("generation") or metadata["resourceVersion"])
