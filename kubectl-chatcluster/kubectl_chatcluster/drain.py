"""`drain`: evicts one chatserver through the Eviction API, and waits until its clients have moved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kubectl_chatcluster import gather
from kubectl_chatcluster.connections import total
from kubectl_chatcluster.errors import KubectlError, NoSuchChat, NotAServer, NotGone, NotNow
from kubectl_chatcluster.names import INSTANCE_LABEL, RESOURCE, part_name
from kubectl_chatcluster.picture import Object, Pod, Reading, pod_of, reading_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubectl_chatcluster.kubectl import Kubectl

POLL_SECONDS = 1
"""Between two looks at the leaving server."""

SLACK_SECONDS = 60
"""Beyond the pod's own grace period, for kubelet and the API."""


def drain(kubectl: Kubectl, server: str, *, timeout_seconds: float | None, say: Callable[[str], None]) -> None:
    """Evict a chatserver and wait until it is gone.

    Args:
        kubectl: The cluster.
        server: Name of the pod.
        timeout_seconds: None: the pod's grace period and SLACK_SECONDS.
        say: Gets each line of progress.

    Raises:
        NotAServer: There is no such pod, or it is no chatserver of a ChatCluster.
        NotNow: The disruption budget allows no eviction.
        NotGone: It was still there when the time was over.
        KubectlError: A right is missing, or the cluster does not answer.
    """
    body = _find(kubectl, server)
    namespace, pod = body["metadata"]["namespace"], checked(body)
    chat = _chat(kubectl, pod, namespace)
    limit = pod.grace_seconds + SLACK_SECONDS if timeout_seconds is None else timeout_seconds
    before = _reading(kubectl, namespace, pod)
    clients = "an unknown number of" if before is None else str(before.connections)
    if pod.leaving is None:
        _evict(kubectl, namespace, pod)
        say(f"evicting {server}, with {clients} clients; it moves them to other servers within {pod.grace_seconds} s")
    else:
        say(f"{server} is already stopping, with {clients} clients")
    took = _follow(kubectl, namespace, pod, limit, before, say)
    others = tuple(other for other in gather.pods(kubectl, chat) if other.part == "chatserver" and other.ready)
    found, _ = gather.readings(kubectl, namespace, others)
    say(
        f"{server} is gone after {took:.0f} s;"
        f" {len(others)} other servers are ready and hold {total(found)} connections"
    )
    say(
        f"Deployment {part_name(pod.chat, 'chatserver')} creates a new server in its place,"
        " unless the autoscaler needs fewer"
    )


def checked(body: Object) -> Pod:
    """The pod, if it is a chatserver of a ChatCluster by its labels.

    Raises:
        NotAServer: It is none.
    """
    pod = pod_of(body)
    labels = body["metadata"].get("labels") or {}
    if labels.get("app.kubernetes.io/name") != "chatcluster" or not pod.chat:
        raise NotAServer(
            f"pod {pod.name} does not belong to a ChatCluster; `kubectl chatcluster connections` lists the chatservers"
        )
    if pod.part != "chatserver":
        raise NotAServer(
            f"pod {pod.name} belongs to the {pod.part} of ChatCluster {pod.chat}, but drain works only for chatservers;"
            " `kubectl chatcluster connections` lists them"
        )
    return pod


def _find(kubectl: Kubectl, server: str) -> Object:
    try:
        return kubectl.get("pods", server)
    except KubectlError as error:
        if not error.is_missing:
            raise
    selector = f"app.kubernetes.io/component=chatserver,{INSTANCE_LABEL}"
    names = ", ".join(sorted(pod["metadata"]["name"] for pod in kubectl.list("pods", selector=selector)))
    raise NotAServer(
        f"there is no pod {server} in namespace {kubectl.namespace()}; "
        + (f"its chatservers are: {names}" if names else "the namespace has no chatservers: choose another one with -n")
    )


def _chat(kubectl: Kubectl, pod: Pod, namespace: str) -> Object:
    try:
        return kubectl.get(RESOURCE, pod.chat, namespace)
    except KubectlError as error:
        if not error.is_missing:
            raise
    raise NoSuchChat(
        f"pod {pod.name} has the labels of ChatCluster {pod.chat}, which does not exist, so nothing would"
        f" replace it; `kubectl delete pod {pod.name}` removes it"
    )


def _evict(kubectl: Kubectl, namespace: str, pod: Pod) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": namespace},
        # Not another pod that took its name meanwhile.
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    try:
        kubectl.post(f"/api/v1/namespaces/{namespace}/pods/{pod.name}/eviction", eviction)
    except KubectlError as error:
        if error.reason != "TooManyRequests":
            raise
        raise NotNow(f"{error} {budget_words(kubectl, namespace, part_name(pod.chat, 'chatserver'))}") from error


def budget_words(kubectl: Kubectl, namespace: str, name: str) -> str:
    """The state of a disruption budget, and what to do about it."""
    remedy = "Try again when all servers are ready (kubectl chatcluster status)"
    try:
        status = kubectl.get("poddisruptionbudgets", name, namespace).get("status") or {}
    except KubectlError:
        return f"{remedy}."
    return (
        f"PodDisruptionBudget {name} needs {status.get('desiredHealthy', '?')} healthy servers, has"
        f" {status.get('currentHealthy', '?')}, and allows {status.get('disruptionsAllowed', 0)} evictions"
        f" now. {remedy}."
    )


def _follow(
    kubectl: Kubectl, namespace: str, pod: Pod, limit: float, before: Reading | None, say: Callable[[str], None]
) -> float:
    started = time.monotonic()
    last = None if before is None else before.connections
    while _is_there(kubectl, namespace, pod):
        took = time.monotonic() - started
        if took > limit:
            left = "" if last is None else f", with {last} connections when it last answered"
            raise NotGone(
                f"{pod.name} has not stopped after {limit:.0f} s{left}. It continues to stop: run the same command"
                " again, with a longer --timeout, to watch it"
            )
        reading = _reading(kubectl, namespace, pod)
        if reading is not None and reading.connections != last:
            last = reading.connections
            say(f"  {took:4.0f} s   {last} connections left")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - started


def _is_there(kubectl: Kubectl, namespace: str, pod: Pod) -> bool:
    try:
        return bool(kubectl.get("pods", pod.name, namespace)["metadata"].get("uid") == pod.uid)
    except KubectlError as error:
        if error.is_missing:
            return False
        raise


def _reading(kubectl: Kubectl, namespace: str, pod: Pod) -> Reading | None:
    """None where the server gives no reading: it may have stopped answering already."""
    if pod.metrics_port is None:
        return None
    try:
        return reading_of(gather.metrics_page(kubectl, namespace, pod))
    except KubectlError:
        return None
