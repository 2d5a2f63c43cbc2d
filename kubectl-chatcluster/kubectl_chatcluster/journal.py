"""Reads the logs of a ChatCluster's pods and of the operator's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubectl_chatcluster import gather
from kubectl_chatcluster.errors import KubectlError
from kubectl_chatcluster.kubectl import side_by_side
from kubectl_chatcluster.names import OPERATOR, OPERATOR_SELECTOR
from kubectl_chatcluster.picture import Object, Pod, pod_of

if TYPE_CHECKING:
    from kubectl_chatcluster.kubectl import Kubectl


@dataclass(frozen=True)
class Source:
    """A pod whose logs to read."""

    namespace: str
    part: str
    pod: Pod


@dataclass(frozen=True)
class Log:
    """What a pod wrote, each line with its time in front; or why it could not be read."""

    source: Source
    printed: str
    error: str | None = None


def sources(kubectl: Kubectl, body: Object, part: str | None) -> tuple[list[Source], list[str]]:
    """The pods of one part, or of all and the operator; and what could not be listed."""
    found: list[Source] = []
    unseen: list[str] = []
    if part != OPERATOR:
        namespace = body["metadata"]["namespace"]
        try:
            pods = gather.pods(kubectl, body)
        except KubectlError as error:
            pods, unseen = (), [f"pods: {error}"]
        found += [Source(namespace, pod.part, pod) for pod in pods if part in (None, pod.part)]
    if part in (None, OPERATOR):
        try:
            found += operator(kubectl)
        except KubectlError as error:
            unseen.append(f"operator: {error}")
    return found, unseen


def operator(kubectl: Kubectl) -> list[Source]:
    """The operator's own pods, wherever they run.

    Raises:
        KubectlError: Pods may not be listed in all namespaces.
    """
    bodies = kubectl.list("pods", selector=OPERATOR_SELECTOR, everywhere=True)
    return [Source(body["metadata"]["namespace"], OPERATOR, pod_of(body)) for body in bodies]


def read(kubectl: Kubectl, sources: list[Source], *options: str) -> list[Log]:
    """The logs of all pods, in their order; an unreadable one does not hide the others."""

    def one(source: Source) -> Log:
        if source.pod.state == "pending":
            return Log(source, "")
        try:
            where = ("-n", source.namespace, "--all-containers", "--timestamps")
            return Log(source, kubectl.run("logs", source.pod.name, *where, *options))
        except KubectlError as error:
            return Log(source, "", str(error))

    return side_by_side(sources, one)
