"""`up`: from nothing, or from whatever is there, to a chat that answers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from localcluster import beside, deploy, images, kindcluster, nodeimage, ports, programs, toolchain
from localcluster import engine as engines
from localcluster.host import ENGINE_PACKAGES, require_programs, require_root
from localcluster.kindcluster import KindCluster, Made
from localcluster.paths import MAX_NODES
from localcluster.progress import LocalClusterError, Stage, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcluster.engine import Engine
    from localcluster.paths import ClusterPaths


TEST_PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kubectl",
    "coredns",
    "kubeconform",
    "kube-score",
    "cert-manager",
    "gateway-api",
)
"""What the integration tests use, beside Helm: a build can take longer than a test may. Rare tests build the rest."""


def bring_up_cluster(
    paths: ClusterPaths, nodes: int | None = None, beside_creation: Callable[[], None] | None = None
) -> KindCluster:
    """A Kubernetes cluster that works, made or repaired.

    Args:
        paths: the cluster.
        nodes: how many; None: as many as it has, or one.
        beside_creation: runs beside the creation of a new cluster.

    Raises:
        LocalClusterError: a step failed, or the cluster that is there has another number of nodes.
    """
    check_nodes(nodes)
    engines.check_program()
    users = engines.users_engine()
    if users is None:
        require_root("no Docker Engine answers, so a private one is started")
        require_programs(ENGINE_PACKAGES, log=paths.logs / "apt.log", why="a private Docker Engine")
    else:
        engines.check_engine(users)
    chosen = ports.ensure(paths)
    with Stage("container engine") as stage:
        engine = users or engines.start_private(paths.engine, paths.cgroup, paths.logs / "engine.log")
        stage.note = "a private one" if engine.private else "yours"
    made = kindcluster.existing(paths, engine)
    is_there = made is not None
    with beside.running(None if is_there else beside_creation, paths):
        # Helm is not needed yet, but where it must be built it shares most of its packages with kubectl.
        with Stage("tools: kind, kubectl and Helm") as stage:
            tools = programs.find_all(("kind", "kubectl", "helm"), stage, paths.logs / "tools.log")
        if made is None:
            made = Made(own_node=ensure_node_image(paths, engine), nodes=nodes or 1)
        check_nodes(nodes, made, paths)
        cluster = KindCluster(
            paths=paths, engine=engine, ports=chosen, made=made, kind=tools["kind"], kubectl=tools["kubectl"]
        )
        _start_cluster(cluster, is_there=is_there)
    return cluster


def _start_cluster(cluster: KindCluster, *, is_there: bool) -> None:
    made, paths = cluster.made, cluster.paths
    with Stage(f"Kubernetes cluster {paths.kind_name}" + (f", {made.nodes} nodes" if made.nodes > 1 else "")) as stage:
        if is_there:
            stage.note = "it was there"
            kindcluster.restart(cluster)
        else:
            stage.detail = "kind create cluster"
            kindcluster.create(cluster)
        kindcluster.ensure_relay(cluster)
        kindcluster.wait_ready(cluster, stage)


def check_nodes(nodes: int | None, made: Made | None = None, paths: ClusterPaths | None = None) -> None:
    """Reject a number of nodes that the cluster cannot have.

    Args:
        nodes: the requested number; None: any.
        made: the cluster that is there.
        paths: its names.

    Raises:
        LocalClusterError: out of bounds, or not what the cluster has: kind adds and removes no nodes.
    """
    if nodes is None:
        return
    if not 1 <= nodes <= MAX_NODES:
        raise LocalClusterError(f"NODES={nodes} is out of range", remedy=f"choose 1 to {MAX_NODES}")
    if made is not None and paths is not None and made.nodes != nodes:
        raise LocalClusterError(
            f"cluster {paths.name} has {made.nodes} node{'s' if made.nodes > 1 else ''}; NODES={nodes} is requested",
            remedy=f"leave NODES out to keep it, or `make down NAME={paths.name}` first, which deletes its data",
        )


def build_test_tools(paths: ClusterPaths) -> None:
    """Have what the integration tests use: an API server of their own, Helm, others' checkers and kinds.

    Raises:
        LocalClusterError: a build failed.
    """
    with Stage(
        "tools: Kubernetes' API server, CoreDNS, Helm, checkers of manifests, and kinds of other projects"
    ) as stage:
        toolchain.ensure_all(TEST_PROGRAMS, stage, paths.logs / "tools.log")
        programs.helm(stage, paths.logs / "tools.log")


def ensure_node_image(paths: ClusterPaths, engine: Engine) -> bool:
    """Have a node image in the engine: kindest/node where it can be pulled, else one made here.

    Returns:
        Whether it is the one made here.
    """
    own = nodeimage.reference()
    if engine.has_image(own):
        return True
    with Stage("node image") as stage:
        log = paths.logs / "node-image.log"
        if not engine.private:
            stage.detail = f"pulling {nodeimage.KINDEST_NODE.partition('@')[0]}"
            if engine.pull(nodeimage.KINDEST_NODE, log=log):
                return False
            nodeimage.build(engine, paths, stage)
            return True
        if not nodeimage.archive().exists():
            # Before an engine is taken, in which the project's images are being built meanwhile.
            nodeimage.programs(stage, log)
            with engines.build_engine(paths, stage) as builder:
                # Another cluster may have made it while this one waited for the builder.
                if not nodeimage.archive().exists():
                    nodeimage.build(builder, paths, stage)
                    stage.detail = "saving the node image"
                    nodeimage.save(builder, log)
        stage.detail = "loading the node image"
        engine.docker("load", "--input", nodeimage.archive(), log=log, timeout_seconds=nodeimage.LOAD_SECONDS)
    return True


def up(paths: ClusterPaths, *, nodes: int | None, cluster_only: bool, chat: bool) -> None:
    """Everything that `make up` does.

    Args:
        paths: the cluster.
        nodes: how many; None: as many as it has, or one.
        cluster_only: stop when Kubernetes works.
        chat: apply the example and wait until it answers.

    Raises:
        LocalClusterError: a step failed.
    """
    cluster = bring_up_cluster(paths, nodes, None if cluster_only else partial(images.prepare, paths))
    if cluster_only:
        kindcluster.wait_for_system(cluster)
        say(f"Kubernetes is ready: export KUBECONFIG={paths.kubeconfig}")
        return
    tag = images.ensure_images(cluster)
    deploy.install_operator(cluster, tag)
    if chat:
        deploy.apply_chat(cluster, tag)
    kindcluster.wait_for_system(cluster)
    say(f"kubectl: export KUBECONFIG={paths.kubeconfig}")
    if chat:
        say(f"Chat is ready: {deploy.address(cluster.ports)}")
