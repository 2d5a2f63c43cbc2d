"""The Kubernetes cluster: made by kind, repaired if it was stopped or crashed, complete with storage and metrics."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import process
from localcluster.cgroups import is_version_2
from localcluster.kindconfig import NODE_PORT, configuration
from localcluster.lock import MARK
from localcluster.paths import REPO_ROOT
from localcluster.progress import LocalClusterError, Stage, deadline

if TYPE_CHECKING:
    from localcluster.engine import Engine
    from localcluster.paths import ClusterPaths
    from localcluster.ports import Ports

API_PORT = 6443

CREATE_SECONDS = 300
"""Seconds for `kind create cluster`; 20 to 40 s is usual on two cores, and 15 s more for each further node."""

READY_SECONDS = 180
"""Seconds until the nodes and the system pods are ready."""

MANIFESTS = Path(__file__).parent / "manifests"

_REMEDY = "look at the log; `make down` and `make up` start afresh"


@dataclass(frozen=True)
class Made:
    """The settings with which `kind create cluster` created the existing cluster.

    Attributes:
        own_node: the node image was built here, not pulled.
        nodes: how many.
    """

    own_node: bool
    nodes: int


@dataclass(frozen=True)
class KindCluster:
    """One cluster and the programs to handle it.

    Attributes:
        made: how many nodes, and of which image.
    """

    paths: ClusterPaths
    engine: Engine
    ports: Ports
    made: Made
    kind: Path
    kubectl: Path

    @property
    def nodes(self) -> tuple[str, ...]:
        """The containers that are its nodes, the control plane first."""
        return self.paths.nodes(self.made.nodes)

    @property
    def log(self) -> Path:
        """Where kind's and kubectl's output goes."""
        return self.paths.logs / "cluster.log"

    def run_kind(self, *arguments: str | Path, timeout_seconds: float) -> None:
        """Run a kind command.

        Raises:
            LocalClusterError: it failed.
        """
        env = self.engine.env()
        process.run([self.kind, *arguments], log=self.log, timeout_seconds=timeout_seconds, env=env, remedy=_REMEDY)

    def run_kubectl(self, *arguments: str | Path, timeout_seconds: float = 60) -> None:
        """Run a kubectl command against this cluster.

        Raises:
            LocalClusterError: it failed.
        """
        argv = kubectl_argv(self.kubectl, self.paths, *arguments)
        process.run(argv, log=self.log, timeout_seconds=timeout_seconds, remedy=_REMEDY)

    def query(self, *arguments: str, timeout_seconds: float = 30) -> str | None:
        """The output of a kubectl command; None if it failed."""
        argv = kubectl_argv(self.kubectl, self.paths, *arguments)
        return process.output_of(argv, timeout_seconds=timeout_seconds, log=self.log)


def kubectl_argv(kubectl: Path, paths: ClusterPaths, *arguments: str | Path) -> list[str | Path]:
    """The command line that reaches this cluster and no other, whatever KUBECONFIG says."""
    return [kubectl, "--kubeconfig", paths.kubeconfig, *arguments]


def existing(paths: ClusterPaths, engine: Engine) -> Made | None:
    """The cluster that is there.

    Returns:
        None if `kind create cluster` never came to its end, or the control plane is gone, and with it all there was.

    Raises:
        LocalClusterError: another node was removed, which kind cannot replace.
    """
    try:
        stored = json.loads((paths.state / "created").read_text())
        made = Made(own_node=bool(stored["own_node"]), nodes=int(stored.get("nodes", 1)))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        made = Made(own_node=True, nodes=1)
    if node_state(engine, paths.node) is None:
        return None
    gone = [node for node in paths.nodes(made.nodes) if node_state(engine, node) is None]
    if gone:
        raise LocalClusterError(f"node {gone[0]} was removed", remedy=f"`make down NAME={paths.name}`, then `make up`")
    return made


def node_state(engine: Engine, node: str) -> str | None:
    """Docker's word for a node's container (running, exited, ...), or None if there is none."""
    return engine.query("container", "inspect", "--format", "{{.State.Status}}", node)


def create(cluster: KindCluster) -> None:
    """Make the cluster, after removing what an interrupted attempt may have left.

    Raises:
        LocalClusterError: kind failed; the node's logs are in the state folder.
    """
    (cluster.paths.state / "created").unlink(missing_ok=True)
    cluster.run_kind("delete", "cluster", "--name", cluster.paths.kind_name, timeout_seconds=120)
    configured = cluster.paths.state / "kind.yaml"
    made = cluster.made
    configured.write_text(
        configuration(cluster.paths, cluster.ports, nodes=made.nodes, own_node=made.own_node, cgroup_2=is_version_2())
    )
    try:
        cluster.run_kind(
            *["create", "cluster", "--config", str(configured), "--retain"],
            *["--kubeconfig", str(cluster.paths.kubeconfig), "--wait", "0s"],
            timeout_seconds=CREATE_SECONDS,
        )
    except LocalClusterError:
        _keep_node_logs(cluster)
        raise
    (cluster.paths.state / "created").write_text(json.dumps(asdict(made)))


def restart(cluster: KindCluster) -> None:
    """Start the nodes of a stopped or crashed cluster that do not run."""
    # The control plane first: Docker gives out the lowest free address, and others know the API server by its own.
    for node in cluster.nodes:
        state = node_state(cluster.engine, node)
        if state == "paused":
            cluster.engine.docker("unpause", node, log=cluster.log)
        elif state != "running":
            cluster.engine.docker("start", node, log=cluster.log)
    if not cluster.paths.kubeconfig.exists():
        cluster.run_kind(
            *["export", "kubeconfig", "--name", cluster.paths.kind_name],
            *["--kubeconfig", str(cluster.paths.kubeconfig)],
            timeout_seconds=60,
        )


def node_address(cluster: KindCluster) -> str:
    """The control plane's address on the engine's network.

    Raises:
        LocalClusterError: the node does not run.
    """
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = cluster.engine.query("container", "inspect", "--format", template, cluster.paths.node)
    if not address:
        raise LocalClusterError("the control plane has no address", remedy=_REMEDY, log=cluster.log)
    return address


def ensure_relay(cluster: KindCluster) -> None:
    """Let 127.0.0.1 of this machine reach a private engine's cluster; the user's engine publishes the ports itself."""
    if cluster.engine.init is None:
        return
    address = node_address(cluster)
    arguments = [
        *[str(cluster.paths.state), "--namespace-of", str(cluster.engine.init.pid)],
        *["--forward", f"{cluster.ports.api}={address}:{API_PORT}"],
        *["--forward", f"{cluster.ports.chat}={address}:{NODE_PORT}"],
    ]
    running = process.find("localcluster.relay", str(cluster.paths.state))
    if len(running) == 1 and process.contains(running[0].argv, arguments):
        return
    process.end(running, grace_seconds=2)
    log = cluster.paths.logs / "relay.log"
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    process.start_daemon(
        [sys.executable, "-m", "localcluster.relay", *arguments], log=log, cwd=REPO_ROOT, env=environment
    )
    with deadline(10, "the relay does not start", f"is port {cluster.ports.chat} in use?", log) as wait:
        # A relay that could not bind is gone at once; one that could has these arguments and stays.
        wait.sleep(0.3)
        if not process.find("localcluster.relay", str(cluster.paths.state)):
            raise LocalClusterError(
                "the relay ended at once",
                remedy=f"free the ports {cluster.ports.chat} and {cluster.ports.api} of 127.0.0.1, or `make down`",
                log=log,
            )


def wait_ready(cluster: KindCluster, stage: Stage) -> None:
    """Wait for the API and the nodes, and hand it what the system still lacks.

    Raises:
        LocalClusterError: not within the time limit.
    """
    started = time.time()
    with deadline(READY_SECONDS, "the Kubernetes API does not answer", _REMEDY, cluster.log) as wait:
        stage.detail = "waiting for the Kubernetes API"
        while cluster.query("get", "--raw", "/readyz", timeout_seconds=10) != "ok":
            wait.sleep(0.5)
    if cluster.made.own_node:
        cluster.run_kubectl("apply", "-f", MANIFESTS / "nodes-may-read.yaml")
    if cluster.made.nodes > 1:
        _prepare_for_several_nodes(cluster)
    stage.detail = "waiting for the nodes"
    try:
        with deadline(READY_SECONDS, "not every node becomes ready", _REMEDY, cluster.log) as wait:
            # After a crash the API still reports the readiness from before it: the heartbeat must be newer.
            while not _nodes_are_ready(cluster, since=started):
                wait.sleep(0.5)
    except LocalClusterError as e:
        raise _explained(cluster, e) from e
    stage.detail = "installing metrics-server and cluster DNS"
    if cluster.engine.private:
        cluster.run_kubectl("apply", "-f", MANIFESTS / "coredns-no-upstream.yaml")
    cluster.run_kubectl("apply", "-f", MANIFESTS / "metrics-server.yaml")


def wait_for_rollout(cluster: KindCluster, namespace: str, workload: str) -> None:
    """Wait until all pods of a workload are up to date and ready.

    Raises:
        LocalClusterError: not within the time limit.
    """
    limit = f"--timeout={READY_SECONDS}s"
    cluster.run_kubectl(*["-n", namespace, "rollout", "status", workload, limit], timeout_seconds=READY_SECONDS + 10)


def wait_for_system(cluster: KindCluster) -> None:
    """Wait for DNS, storage and metrics, which settle while images are copied and the operator starts.

    Raises:
        LocalClusterError: not within the time limit.
    """
    with Stage("cluster DNS, storage and metrics") as stage:
        for namespace, workload in SYSTEM_WORKLOADS:
            stage.detail = f"waiting for {workload}"
            wait_for_rollout(cluster, namespace, workload)


SYSTEM_WORKLOADS = (
    ("kube-system", "daemonset/kube-proxy"),
    ("kube-system", "deployment/coredns"),
    ("local-path-storage", "deployment/local-path-provisioner"),
    # Last: it has two scrapes to do, 15 s apart, before it says that it is ready.
    ("kube-system", "deployment/metrics-server"),
)


def _prepare_for_several_nodes(cluster: KindCluster) -> None:
    """Let nodes find each other, and keep volumes on the one that can be neither drained nor lost without an end."""
    if cluster.made.own_node:
        for node in cluster.nodes:
            cluster.engine.docker("exec", node, "systemctl", "enable", "--now", "pod-routes", log=cluster.log)
    if not cluster.query("get", "storageclass", "standard", "-o", "jsonpath={.allowedTopologies}"):
        # Its fields are immutable.
        cluster.run_kubectl("replace", "--force", "-f", MANIFESTS / "volumes-on-control-plane.yaml")


def _explained(cluster: KindCluster, failure: LocalClusterError) -> LocalClusterError:
    """The failure, or the reason that a kubelet gives for it and that only this machine's owner can change."""
    for node in cluster.nodes:
        said = cluster.engine.query("exec", node, "journalctl", "--unit=kubelet", "--lines=100", "--output=cat") or ""
        if "inotify_init: too many open files" in said:
            return LocalClusterError(
                f"the clusters on this machine need more inotify instances than root may have; {node} got none",
                remedy="`make down` one of them, or `sysctl fs.inotify.max_user_instances=512`",
                log=cluster.log,
            )
    return failure


def _nodes_are_ready(cluster: KindCluster, since: float) -> bool:
    each = '{.status} {.lastHeartbeatTime}{"\\n"}'
    template = '{range .items[*].status.conditions[?(@.type=="Ready")]}' + each + "{end}"
    answer = cluster.query("get", "nodes", "-o", f"jsonpath={template}", timeout_seconds=10)
    reports = (answer or "").splitlines()
    return len(reports) == cluster.made.nodes and all(_is_fresh_and_ready(report, since) for report in reports)


def _is_fresh_and_ready(report: str, since: float) -> bool:
    status, _, heartbeat = report.partition(" ")
    if status != "True":
        return False
    at = time.mktime(time.strptime(heartbeat, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    return at >= since - FRESH_SECONDS


FRESH_SECONDS = 330
"""Seconds between the kubelet's unchanged status reports (five minutes, plus a margin)."""


def _keep_node_logs(cluster: KindCluster) -> None:
    for node in cluster.nodes:
        for arguments in (["logs", node], ["exec", node, "journalctl", "--no-pager", "-n", "300"]):
            text = cluster.engine.query(*arguments)
            with cluster.log.open("a") as output:
                output.write(f"--- docker {' '.join(arguments)}\n{text or '(nothing)'}\n")
