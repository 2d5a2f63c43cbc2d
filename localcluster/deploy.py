"""The operator from the Helm chart, and the chat from examples/minimal.yaml, until it answers."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from localcluster import kindcluster, process, programs
from localcluster.paths import REPO_ROOT
from localcluster.progress import LocalClusterError, Stage, deadline, say

if TYPE_CHECKING:
    from localcluster.kindcluster import KindCluster
    from localcluster.ports import Ports

CHART = REPO_ROOT / "charts" / "chatcluster-operator"
RELEASE = "chatcluster"
OPERATOR_NAMESPACE = "chatcluster-system"

EXAMPLE = REPO_ROOT / "examples" / "minimal.yaml"
CHAT_NAMESPACE = "chat"
CHAT_NAME = "demo"

HELM_SECONDS = 180
"""Seconds until the operator's Deployment is available; 10 s is usual."""

CHAT_SECONDS = 300
"""Seconds from the applied example to Ready; half a minute is usual."""

ANSWER_SECONDS = 60
"""Seconds until a request from this machine gets through, after Ready."""


def install_operator(cluster: KindCluster, tag: str) -> None:
    """Install or upgrade the operator and its CRD.

    Raises:
        LocalClusterError: Helm failed, or the operator does not become available.
    """
    log = cluster.paths.logs / "operator.log"
    with Stage("operator") as stage:
        helm = programs.helm(stage, cluster.paths.logs / "tools.log")
        _forget_interrupted_release(cluster)
        readers = _metrics_readers(cluster)
        stage.detail = "helm upgrade --install"
        try:
            process.run(
                [
                    *[str(helm), "--kubeconfig", str(cluster.paths.kubeconfig)],
                    *["upgrade", "--install", RELEASE, str(CHART)],
                    *["--namespace", OPERATOR_NAMESPACE, "--create-namespace"],
                    *["--set-string", f"images.tag={tag}", "--wait", f"--timeout={HELM_SECONDS}s"],
                    *["--set-json", f"networkPolicy.metricsFrom={json.dumps(readers)}"],
                ],
                log=log,
                timeout_seconds=HELM_SECONDS + 30,
                remedy=f"`kubectl -n {OPERATOR_NAMESPACE} get pods,events` says more, then `make up` again",
            )
        except LocalClusterError:
            _explain(cluster, OPERATOR_NAMESPACE)
            raise


def apply_chat(cluster: KindCluster, tag: str) -> None:
    """Apply the example and wait until the chat is Ready and answers on this machine.

    Raises:
        LocalClusterError: not within the time limit; the namespace's state is in the log.
    """
    log = cluster.paths.logs / "chat.log"
    remedy = f"`kubectl -n {CHAT_NAMESPACE} describe chatcluster {CHAT_NAME}` says more, then `make up` again"
    with Stage(f"ChatCluster {CHAT_NAME} in namespace {CHAT_NAMESPACE}") as stage:
        cluster.run_kubectl("apply", "-f", EXAMPLE)
        if readers := _metrics_readers(cluster):
            _patch(cluster, {"networkPolicies": {"metricsFrom": readers}})
        _adopt_release(cluster, tag)
        try:
            with deadline(CHAT_SECONDS, "the chat does not become ready", remedy, log) as wait:
                while not is_ready(found := _chat(cluster), tag):
                    stage.detail = waiting_for(found)
                    wait.sleep(1)
            stage.detail = "sending a request from this machine"
            with deadline(ANSWER_SECONDS, f"{address(cluster.ports)} does not answer", remedy, log) as wait:
                while not answers(cluster.ports):
                    wait.sleep(0.5)
        except LocalClusterError:
            _explain(cluster, CHAT_NAMESPACE)
            raise


def api_server_as_peer(node_address: str) -> list[dict[str, Any]]:
    """Who has to be named as a reader of metrics, so that they can be read through the API server.

    Args:
        node_address: of the control plane: to pods on other nodes the API server's packets come from there, and a
            network that enforces policies takes them for a stranger's.
    """
    return [{"ipBlock": {"cidr": f"{node_address}/32"}}]


def _metrics_readers(cluster: KindCluster) -> list[dict[str, Any]]:
    """Who reads metrics from outside the operator's namespace here; with one node nobody has to be named."""
    return api_server_as_peer(kindcluster.node_address(cluster)) if cluster.made.nodes > 1 else []


def is_ready(chat: dict[str, Any] | None, tag: str) -> bool:
    """Whether this generation of the ChatCluster is Ready and runs this release."""
    if chat is None:
        return False
    status = chat.get("status") or {}
    current = status.get("observedGeneration") == chat["metadata"]["generation"]
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    settled = conditions.get("Progressing", {}).get("status") != "True"
    return current and settled and status.get("version") == tag and conditions.get("Ready", {}).get("status") == "True"


def waiting_for(chat: dict[str, Any] | None) -> str:
    """A line for the user on what is missing: the conditions that are not as they should be."""
    conditions = ((chat or {}).get("status") or {}).get("conditions") or []
    missing = [
        f"{condition['type']}: {condition.get('message') or condition.get('reason')}"
        for condition in conditions
        if condition["type"].endswith("Ready") and condition["status"] != "True"
    ]
    return "; ".join(missing)[:200] or "waiting for the operator"


def address(ports: Ports) -> str:
    """The chat's address on this machine."""
    return f"https://127.0.0.1:{ports.chat}/"


def answers(ports: Ports) -> bool:
    """Whether the chat's page comes through the relay and the ingress; the certificate is self-signed."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        # S310: the address is https, by address().
        with urllib.request.urlopen(address(ports), timeout=5, context=context) as answer:  # noqa: S310
            return bool(answer.status == 200)  # noqa: PLR2004 -- HTTP's own number
    except (OSError, urllib.error.URLError):
        return False


def _forget_interrupted_release(cluster: KindCluster) -> None:
    """Remove the record of an installation that was killed half-way: Helm refuses to continue from it."""
    if cluster.query("get", "namespace", OPERATOR_NAMESPACE, "-o", "name"):
        pending = "status in (pending-install, pending-upgrade, pending-rollback)"
        selector = f"owner=helm,name={RELEASE},{pending}"
        cluster.run_kubectl("-n", OPERATOR_NAMESPACE, "delete", "secret", "-l", selector, "--ignore-not-found")


def _chat(cluster: KindCluster) -> dict[str, Any] | None:
    text = cluster.query("-n", CHAT_NAMESPACE, "get", "chatcluster", CHAT_NAME, "-o", "json")
    return json.loads(text) if text else None


def _adopt_release(cluster: KindCluster, tag: str) -> None:
    """Let an existing chat run the images of this tree: a new operator alone changes no running chat."""
    chat = _chat(cluster)
    running = ((chat or {}).get("status") or {}).get("version")
    if running is not None and running != tag:
        say(f"    upgrading the chat from {running} to {tag}")
        _patch(cluster, {"version": tag})


def _patch(cluster: KindCluster, spec: dict[str, Any]) -> None:
    """Merge into the chat's spec."""
    patch = json.dumps({"spec": spec})
    cluster.run_kubectl("-n", CHAT_NAMESPACE, "patch", "chatcluster", CHAT_NAME, "--type", "merge", "--patch", patch)


def _explain(cluster: KindCluster, namespace: str) -> None:
    """Append to the log what a person would look at first."""
    log = cluster.paths.logs / ("operator.log" if namespace == OPERATOR_NAMESPACE else "chat.log")
    looks = (
        ("get", "chatclusters", "-A", "-o", "yaml"),
        ("get", "events", "-n", namespace, "--sort-by=.lastTimestamp"),
        ("get", "pods", "-n", namespace, "-o", "wide"),
        ("logs", "-n", OPERATOR_NAMESPACE, f"deployment/{RELEASE}-operator", "--tail=15"),
    )
    with log.open("a") as output:
        for look in looks:
            output.write(f"--- kubectl {' '.join(look)}\n{cluster.query(*look) or '(nothing)'}\n")
