"""`up`: from nothing, or from whatever is there, to a chat that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcluster import deploy, images, kindcluster, nodeimage, ports
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
    own_node = ensure_node_image(paths, users)
    with Stage("container engine") as stage:
        engine = users or engines.start_private(paths.engine, paths.cgroup, paths.logs / "engine.log")
        stage.note = "a private one" if engine.private else "yours"
        if engine.private and own_node and not engine.has_image(nodeimage.reference()):
            stage.detail = "loading the node image"
            engine.docker("load", "--input", nodeimage.archive(), log=paths.logs / "engine.log", timeout_seconds=600)
    cluster = KindCluster(
        paths=paths, engine=engine, ports=chosen, own_node=own_node, kind=tools["kind"], kubectl=tools["kubectl"]
    )
    with Stage(f"Kubernetes cluster {paths.kind_name}") as stage:
        if kindcluster.is_complete(cluster):
            stage.note = "it was there"
            kindcluster.restart(cluster)
        else:
            stage.detail = "kind create cluster"
            kindcluster.create(cluster)
        kindcluster.ensure_relay(cluster)
        kindcluster.wait_ready(cluster, stage)
    return cluster


def ensure_node_image(paths: ClusterPaths, users: Engine | None) -> bool:
    """Have a node image at hand: kindest/node where it can be pulled, else one made here.

    Returns:
        Whether it is the one made here.
    """
    if users is not None and (users.has_image(nodeimage.KINDEST_NODE) or users.has_image(nodeimage.reference())):
        return not users.has_image(nodeimage.KINDEST_NODE)
    if users is None and nodeimage.archive().exists():
        return True
    with Stage("node image") as stage, engines.build_engine(paths, stage) as builder:
        log = paths.logs / "node-image.log"
        if builder.private and nodeimage.archive().exists():
            return True
        stage.detail = f"asking for {nodeimage.KINDEST_NODE.partition('@')[0]}"
        if not builder.private and builder.pull(nodeimage.KINDEST_NODE, log=log):
            return False
        nodeimage.build(builder, paths, stage)
        if builder.private:
            stage.detail = "saving the node image"
            nodeimage.save(builder, log)
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
        kindcluster.wait_for_metrics(cluster)
        say(f"Kubernetes is ready: export KUBECONFIG={paths.kubeconfig}")
        return
    tag = images.ensure_images(cluster)
    deploy.install_operator(cluster, tag)
    if chat:
        deploy.apply_chat(cluster, tag)
    kindcluster.wait_for_metrics(cluster)
    say(f"kubectl: export KUBECONFIG={paths.kubeconfig}")
    if chat:
        say(f"Chat is ready: {deploy.address(cluster.ports)}")
