"""The Kubernetes cluster: made by kind, repaired if it was stopped or crashed, complete with storage and metrics."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import nodeimage, process, toolchain
from localcluster.cgroups import is_version_2
from localcluster.lock import MARK
from localcluster.paths import REPO_ROOT
from localcluster.progress import LocalClusterError, Stage, deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from localcluster.engine import Engine
    from localcluster.paths import ClusterPaths
    from localcluster.ports import Ports

NODE_PORT = 30443
"""The node port of the chat's ingress in the local cluster's manifests."""

API_PORT = 6443

CREATE_SECONDS = 300
"""Seconds for `kind create cluster`; 20 to 40 s is usual on two cores."""

READY_SECONDS = 180
"""Seconds until the node and the system pods are ready."""

MANIFESTS = Path(__file__).parent / "manifests"

_REMEDY = "look at the log; `make down` and `make up` start afresh"

_KUBELET_ON_CGROUP_1 = """\
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  cgroupDriver: cgroupfs
  failCgroupV1: false
  resolvConf: /kind/resolv.conf
"""

_KUBELET_ON_CGROUP_2 = """\
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  resolvConf: /kind/resolv.conf
"""

_OWN_VERSIONS = f"""\
- |
  kind: ClusterConfiguration
  apiVersion: kubeadm.k8s.io/v1beta3
  etcd:
    local:
      imageTag: {nodeimage.ETCD_TAG}
  dns:
    imageTag: {nodeimage.COREDNS_TAG}
"""


@dataclass(frozen=True)
class KindCluster:
    """One cluster and the programs to handle it.

    Attributes:
        own_node: the node image was built here, not pulled.
    """

    paths: ClusterPaths
    engine: Engine
    ports: Ports
    own_node: bool
    kind: Path
    kubectl: Path

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


def configuration(paths: ClusterPaths, ports: Ports, *, own_node: bool, cgroup_2: bool) -> str:
    """The kind configuration as YAML.

    Args:
        paths: gives the name.
        ports: published on 127.0.0.1 by the engine.
        own_node: the node image is the one built here; it brings its own pod network and versions.
        cgroup_2: the machine has the unified hierarchy.
    """
    lines = [
        "kind: Cluster",
        "apiVersion: kind.x-k8s.io/v1alpha4",
        f"name: {paths.kind_name}",
        "networking:",
        "  ipFamily: ipv4",
        '  apiServerAddress: "127.0.0.1"',
        f"  apiServerPort: {ports.api}",
        *(["  disableDefaultCNI: true"] if own_node else []),
        "nodes:",
        "- role: control-plane",
        f'  image: "{nodeimage.reference() if own_node else nodeimage.KINDEST_NODE}"',
        "  extraPortMappings:",
        f'  - {{containerPort: {NODE_PORT}, hostPort: {ports.chat}, listenAddress: "127.0.0.1"}}',
    ]
    patches = ""
    if own_node:
        patches = "kubeadmConfigPatches:\n" + (_KUBELET_ON_CGROUP_2 if cgroup_2 else _KUBELET_ON_CGROUP_1)
        patches += _OWN_VERSIONS
    return "\n".join(lines) + "\n" + patches


def existing_own_node(paths: ClusterPaths, engine: Engine) -> bool | None:
    """Whether the existing cluster has a node image of our own.

    Returns:
        None if `kind create cluster` never came to its end, or the node is gone.
    """
    try:
        made = json.loads((paths.state / "created").read_text())
        own_node = bool(made["own_node"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        own_node = True
    return own_node if node_state(engine, paths) is not None else None


def node_state(engine: Engine, paths: ClusterPaths) -> str | None:
    """Docker's word for the node container (running, exited, ...), or None if there is none."""
    return engine.query("container", "inspect", "--format", "{{.State.Status}}", paths.node)


def create(cluster: KindCluster) -> None:
    """Make the cluster, after removing what an interrupted attempt may have left.

    Raises:
        LocalClusterError: kind failed; the node's logs are in the state folder.
    """
    (cluster.paths.state / "created").unlink(missing_ok=True)
    cluster.run_kind("delete", "cluster", "--name", cluster.paths.kind_name, timeout_seconds=120)
    configured = cluster.paths.state / "kind.yaml"
    configured.write_text(
        configuration(cluster.paths, cluster.ports, own_node=cluster.own_node, cgroup_2=is_version_2())
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
    (cluster.paths.state / "created").write_text(json.dumps({"own_node": cluster.own_node}))


def restart(cluster: KindCluster) -> None:
    """Start the node of a stopped or crashed cluster."""
    if node_state(cluster.engine, cluster.paths) != "running":
        cluster.engine.docker("start", cluster.paths.node, log=cluster.log)
    if not cluster.paths.kubeconfig.exists():
        cluster.run_kind(
            *["export", "kubeconfig", "--name", cluster.paths.kind_name],
            *["--kubeconfig", str(cluster.paths.kubeconfig)],
            timeout_seconds=60,
        )


def node_address(cluster: KindCluster) -> str:
    """The node's address on the engine's network.

    Raises:
        LocalClusterError: the node does not run.
    """
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = cluster.engine.query("container", "inspect", "--format", template, cluster.paths.node)
    if not address:
        raise LocalClusterError("the node has no address", remedy=_REMEDY, log=cluster.log)
    return address


def ensure_relay(cluster: KindCluster) -> None:
    """Let 127.0.0.1 of this machine reach a private engine's cluster; the user's engine publishes the ports itself."""
    if cluster.engine.init is None:
        return
    address = node_address(cluster)
    wanted = [
        *[str(cluster.paths.state), "--namespace-of", str(cluster.engine.init.pid)],
        *["--forward", f"{cluster.ports.api}={address}:{API_PORT}"],
        *["--forward", f"{cluster.ports.chat}={address}:{NODE_PORT}"],
    ]
    running = process.find("localcluster.relay", str(cluster.paths.state))
    if len(running) == 1 and process.contains(running[0].argv, wanted):
        return
    process.end(running, grace_seconds=2)
    log = cluster.paths.logs / "relay.log"
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    process.start_daemon([sys.executable, "-m", "localcluster.relay", *wanted], log=log, cwd=REPO_ROOT, env=environment)
    with deadline(10, "the relay does not start", f"is port {cluster.ports.chat} in use?", log) as wait:
        # A relay that could not bind is gone at once; one that could has its wanted arguments and stays.
        wait.sleep(0.3)
        if not process.find("localcluster.relay", str(cluster.paths.state)):
            raise LocalClusterError(
                "the relay ended at once",
                remedy=f"free the ports {cluster.ports.chat} and {cluster.ports.api} of 127.0.0.1, or `make down`",
                log=log,
            )


def wait_ready(cluster: KindCluster, stage: Stage) -> None:
    """Wait for the API and the node, and hand it what the system still lacks.

    Raises:
        LocalClusterError: not within the time limit.
    """
    started = time.time()
    with deadline(READY_SECONDS, "the Kubernetes API does not answer", _REMEDY, cluster.log) as wait:
        stage.detail = "waiting for the Kubernetes API"
        while cluster.query("get", "--raw", "/readyz", timeout_seconds=10) != "ok":
            wait.sleep(0.5)
    with deadline(READY_SECONDS, "the node does not become ready", _REMEDY, cluster.log) as wait:
        stage.detail = "waiting for the node"
        # After a crash the API still tells of a readiness from before it: the heartbeat must be newer.
        while not _node_is_ready(cluster, since=started):
            wait.sleep(0.5)
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


def _node_is_ready(cluster: KindCluster, since: float) -> bool:
    template = '{range .items[0].status.conditions[?(@.type=="Ready")]}{.status} {.lastHeartbeatTime}{end}'
    answer = cluster.query("get", "nodes", "-o", f"jsonpath={template}", timeout_seconds=10)
    if not answer:
        return False
    status, _, heartbeat = answer.partition(" ")
    if status != "True":
        return False
    age = time.mktime(time.strptime(heartbeat, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    return age >= since - FRESH_SECONDS


FRESH_SECONDS = 330
"""Seconds between the kubelet's unchanged status reports (five minutes, plus a margin)."""


def copy_images(cluster: KindCluster, source: Engine, references: list[str]) -> None:
    """Give the node images of another engine, without a file in between: what `kind load image-archive` does with one.

    Raises:
        LocalClusterError: a side of the pipe failed.
    """
    importer = ["ctr", "--namespace=k8s.io", "images", "import", "--all-platforms", "--digests", "-"]
    process.pipe(
        ["docker", "save", *references],
        ["docker", "exec", "--interactive", cluster.paths.node, *importer],
        environments=(source.env(), cluster.engine.env()),
        log=cluster.log,
        timeout_seconds=CREATE_SECONDS,
    )


def load_from_engine(cluster: KindCluster, references: list[str]) -> None:
    """Give the node images that this engine has."""
    cluster.run_kind(
        "load", "docker-image", *references, "--name", cluster.paths.kind_name, timeout_seconds=CREATE_SECONDS
    )


def images_on_node(cluster: KindCluster) -> set[str]:
    """References of the images that the node has, with `docker.io/library/` left out."""
    listed = cluster.engine.query("exec", cluster.paths.node, "ctr", "-n", "k8s.io", "images", "list", "-q") or ""
    return {line.removeprefix("docker.io/library/") for line in listed.splitlines()}


def tag_on_node(cluster: KindCluster, identity: str, name: str) -> None:
    """Give an image of the node another name."""
    command = ["ctr", "-n", "k8s.io", "images", "tag", "--force", identity, f"docker.io/library/{name}"]
    cluster.engine.docker("exec", cluster.paths.node, *command, log=cluster.log)


def _keep_node_logs(cluster: KindCluster) -> None:
    for arguments in (
        ["logs", cluster.paths.node],
        ["exec", cluster.paths.node, "journalctl", "--no-pager", "-n", "300"],
    ):
        text = cluster.engine.query(*arguments)
        with cluster.log.open("a") as output:
            output.write(f"--- docker {' '.join(arguments)}\n{text or '(nothing)'}\n")


def toolchain_for(stage: Stage, log: Path) -> Mapping[str, Path]:
    """The programs that every `up` needs."""
    return {"kind": toolchain.kind(stage, log), "kubectl": toolchain.kubectl(stage, log)}
