"""Reads what a Picture holds from the cluster; what may not be read is listed and is not fatal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubectl_chatcluster.errors import KubectlError, NoSuchChat
from kubectl_chatcluster.kubectl import side_by_side
from kubectl_chatcluster.names import PARTS, RESOURCE, claim_name, instance_selector
from kubectl_chatcluster.picture import (
    Object,
    Picture,
    Pod,
    Reading,
    chat_of,
    events_of,
    pod_of,
    reading_of,
    volume_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubectl_chatcluster.kubectl import Kubectl

METRICS_SECONDS = 5
"""A server that needs longer for a page of a few kilobytes gives no reading."""


def chat(kubectl: Kubectl, name: str | None) -> Object:
    """The ChatCluster that the user speaks of: the named one, or the only one.

    Raises:
        NoSuchChat: There is none, or there are several and none is named.
        KubectlError: They may not be read.
    """
    if name is not None:
        try:
            return kubectl.get(RESOURCE, name)
        except KubectlError as error:
            if not error.is_missing:
                raise
        raise NoSuchChat(f"there is no ChatCluster {name} in namespace {kubectl.namespace()}{_others(kubectl)}")
    found = kubectl.list(RESOURCE)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(body["metadata"]["name"] for body in found))
        raise NoSuchChat(f"this namespace has several ChatClusters; name one of: {names}")
    raise NoSuchChat(f"there is no ChatCluster in namespace {kubectl.namespace()}{_others(kubectl)}")


def _others(kubectl: Kubectl) -> str:
    try:
        found = kubectl.list(RESOURCE, everywhere=True)
    except KubectlError as error:
        return f"; choose another namespace with -n ({error})"
    if not found:
        return ", nor in any other. Create one with `kubectl apply`; see examples/minimal.yaml"
    names = ", ".join(sorted(f"{body['metadata']['name']} -n {body['metadata']['namespace']}" for body in found))
    return f"; existing ChatClusters: {names}"


def pods(kubectl: Kubectl, body: Object) -> tuple[Pod, ...]:
    """The pods of a ChatCluster, by part and name.

    Raises:
        KubectlError: They may not be listed.
    """
    metadata = body["metadata"]
    found = kubectl.list("pods", metadata["namespace"], selector=instance_selector(metadata["name"]))
    made = [pod_of(pod) for pod in found]
    order = {part: place for place, part in enumerate(PARTS)}
    return tuple(sorted(made, key=lambda pod: (order.get(pod.part, len(order)), pod.name)))


def metrics_page(kubectl: Kubectl, namespace: str, pod: Pod) -> str:
    """A pod's metrics through the API server's proxy.

    Raises:
        KubectlError: It was refused, or the pod does not answer.
    """
    path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}:{pod.metrics_port}/proxy/metrics"
    return kubectl.raw(path, timeout_seconds=METRICS_SECONDS)


def readings(kubectl: Kubectl, namespace: str, servers: tuple[Pod, ...]) -> tuple[dict[str, Reading | None], list[str]]:
    """The connection counts of the chatservers, and why some are missing."""
    scraped = [pod for pod in servers if pod.metrics_port is not None]

    def read(pod: Pod) -> Reading | KubectlError | None:
        try:
            return reading_of(metrics_page(kubectl, namespace, pod))
        except KubectlError as error:
            return error

    answers = dict(zip((pod.name for pod in scraped), side_by_side(scraped, read), strict=True))
    why = sorted({f"connections: {error}" for error in answers.values() if isinstance(error, KubectlError)})
    return {name: answer if isinstance(answer, Reading) else None for name, answer in answers.items()}, why


def picture(kubectl: Kubectl, body: Object) -> Picture:
    """All of one ChatCluster at this moment."""
    read = chat_of(body)
    unseen: list[str] = []

    def attempt(what: str, request: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return request()
        except KubectlError as error:
            if not error.is_missing:
                unseen.append(f"{what}: {error}")
            return otherwise

    requests: tuple[tuple[str, Callable[[], Any], Any], ...] = (
        ("pods", lambda: pods(kubectl, body), ()),
        (
            "volume",
            lambda: volume_of(kubectl.get("persistentvolumeclaims", claim_name(read.name), read.namespace)),
            None,
        ),
        ("events", lambda: events_of(kubectl.list("events", read.namespace), read.name), ()),
    )
    found, volume, events = side_by_side(requests, lambda one: attempt(*one))
    counted, why = readings(kubectl, read.namespace, tuple(pod for pod in found if pod.part == "chatserver"))
    return Picture(read, found, counted, volume, events, (*sorted(unseen), *why))
