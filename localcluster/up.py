"""`up`: from nothing, or from whatever is there, to a chat that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcluster import deploy, images, kindcluster, nodeimage, ports, toolchain
from localcluster import engine as engines
from localcluster.host import ENGINE_PACKAGES, require_programs, require_root
from localcluster.kindcluster import KindCluster
from localcluster.progress import Stage, say

if TYPE_CHECKING:
    from localcluster.engine import Engine
    from localcluster.paths import ClusterPaths


def bring_up_cluster(paths: ClusterPaths) -> KindCluster:
    """A Kubernetes cluster that works, made or repaired.

    Raises:
        LocalClusterError: a step failed.
    """
    users = engines.users_engine()
    if users is None:
        require_root("no Docker Engine answers, so a private one is started")
        require_programs(ENGINE_PACKAGES, log=paths.logs / "apt.log", why="a private Docker Engine")
    with Stage("tools: kind and kubectl") as stage:
        tools = kindcluster.toolchain_for(stage, paths.logs / "tools.log")
    chosen = ports.ensure(paths)
    with Stage("container engine") as stage:
        engine = users or engines.start_private(paths.engine, paths.cgroup, paths.logs / "engine.log")
        stage.note = "a private one" if engine.private else "yours"
    own_node = kindcluster.existing_own_node(paths, engine)
    is_there = own_node is not None
    if own_node is None:
        own_node = ensure_node_image(paths, engine)
    cluster = KindCluster(
        paths=paths, engine=engine, ports=chosen, own_node=own_node, kind=tools["kind"], kubectl=tools["kubectl"]
    )
    with Stage(f"Kubernetes cluster {paths.kind_name}") as stage:
        if is_there:
            stage.note = "it was there"
            kindcluster.restart(cluster)
        else:
            stage.detail = "kind create cluster"
            kindcluster.create(cluster)
        kindcluster.ensure_relay(cluster)
        kindcluster.wait_ready(cluster, stage)
    return cluster


def build_test_tools(paths: ClusterPaths) -> None:
    """Have the programs that the integration tests start: an API server of their own, and Helm.

    Raises:
        LocalClusterError: a build failed.
    """
    with Stage("tools: etcd, kube-apiserver and Helm") as stage:
        for module in ("etcd", "kubernetes"):
            toolchain.ensure(module, stage, paths.logs / "tools.log")
        toolchain.helm(stage, paths.logs / "tools.log")


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
            stage.detail = f"asking for {nodeimage.KINDEST_NODE.partition('@')[0]}"
            if engine.pull(nodeimage.KINDEST_NODE, log=log):
                return False
            nodeimage.build(engine, paths, stage)
            return True
        if not nodeimage.archive().exists():
            with engines.build_engine(paths, stage) as builder:
                # Another cluster may have made it while this one waited for the builder.
                if not nodeimage.archive().exists():
                    nodeimage.build(builder, paths, stage)
                    stage.detail = "saving the node image"
                    nodeimage.save(builder, log)
        stage.detail = "loading the node image"
        engine.docker("load", "--input", nodeimage.archive(), log=log, timeout_seconds=nodeimage.LOAD_SECONDS)
    return True


def up(paths: ClusterPaths, *, cluster_only: bool, chat: bool) -> None:
    """Everything that `make up` does.

    Args:
        paths: the cluster.
        cluster_only: stop when Kubernetes works.
        chat: apply the example and wait until it answers.

    Raises:
        LocalClusterError: a step failed.
    """
    cluster = bring_up_cluster(paths)
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
