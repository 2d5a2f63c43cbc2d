"""The images that the nodes hold: looked at, and given to those that lack them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcluster import process

if TYPE_CHECKING:
    from localcluster.engine import Engine
    from localcluster.kindcluster import KindCluster

COPY_SECONDS = 300
"""Seconds to give one node the images; 10 s is usual."""

_CTR = ("ctr", "--namespace=k8s.io", "images")


def images_on_node(cluster: KindCluster, node: str) -> set[str]:
    """References of the images that a node has, with `docker.io/library/` left out."""
    listed = cluster.engine.query("exec", node, *_CTR, "list", "-q") or ""
    return {line.removeprefix("docker.io/library/") for line in listed.splitlines()}


def images_on_all_nodes(cluster: KindCluster) -> set[str]:
    """The images that no node lacks."""
    return set.intersection(*(images_on_node(cluster, node) for node in cluster.nodes))


def copy_images(cluster: KindCluster, node: str, source: Engine, references: list[str]) -> None:
    """Give a node images of another engine, without a file in between: what `kind load image-archive` does with one.

    Raises:
        LocalClusterError: a side of the pipe failed.
    """
    importer = [*_CTR, "import", "--all-platforms", "--digests", "-"]
    process.pipe(
        ["docker", "save", *references],
        ["docker", "exec", "--interactive", node, *importer],
        environments=(source.env(), cluster.engine.env()),
        log=cluster.log,
        timeout_seconds=COPY_SECONDS,
    )


def load_from_engine(cluster: KindCluster, references: list[str]) -> None:
    """Give all nodes images that this engine has."""
    name = cluster.paths.kind_name
    cluster.run_kind("load", "docker-image", *references, "--name", name, timeout_seconds=COPY_SECONDS)


def tag_on_node(cluster: KindCluster, node: str, identity: str, name: str) -> None:
    """Give an image of a node another name."""
    command = [*_CTR, "tag", "--force", identity, f"docker.io/library/{name}"]
    cluster.engine.docker("exec", node, *command, log=cluster.log)
