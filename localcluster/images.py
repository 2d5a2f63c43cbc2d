"""The project's own images: built by `docker build` from the one Dockerfile, given to the cluster's nodes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import engine as engines
from localcluster import nodestore
from localcluster.bootstrap import bootstrap
from localcluster.host import BOOTSTRAP_PACKAGES, require_programs, require_root
from localcluster.paths import REPO_ROOT, cache_root
from localcluster.progress import LocalClusterError, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from localcluster.engine import Engine
    from localcluster.kindcluster import KindCluster
    from localcluster.paths import ClusterPaths

TARGETS = ("chatserver", "operator", "postgres", "haproxy", "valkey")

BASE_IMAGE = "debian:trixie-slim"

BASE_SUITE = "trixie"
"""Debian 13: Python 3.13, PostgreSQL 17, HAProxy 3.0, Valkey 8.1."""

# What debian:trixie-slim has beside the essential packages.
BASE_PACKAGES = ("debian-archive-keyring",)

BASE_OVERLAY = Path(__file__).parent / "base"
"""The settings that debian:*-slim adds to Debian's own."""

STAGE_HOURS = 24
"""Hours that build stages are kept as a cache."""

BUILD_SECONDS = 900
"""Seconds for one image with an empty layer cache; one minute is usual."""


def ensure_images(cluster: KindCluster) -> str:
    """Have the images of this source tree on every node; nothing is built or copied that is there already.

    Returns:
        The images' tag.

    Raises:
        LocalClusterError: a build failed.
    """
    tag = source_tag(REPO_ROOT)
    needed = [image_name(target, tag) for target in TARGETS]
    with Stage("images on the nodes") as stage:
        if set(needed) <= nodestore.images_on_all_nodes(cluster):
            stage.note = f"tag {tag} is there"
            return tag
        with engines.build_engine(cluster.paths, stage) as builder:
            log = cluster.paths.logs / "images.log"
            _build_lacking(builder, tag, stage, log)
            stage.detail = "copying the images to the nodes"
            _load(cluster, builder, needed)
            _forget_others(builder, needed, log)
        stage.note = f"tag {tag}"
    return tag


def prepare(paths: ClusterPaths) -> None:
    """Build the images of this source tree that the build engine lacks, before there are nodes to copy them to.

    Raises:
        LocalClusterError: a build failed.
    """
    tag = source_tag(REPO_ROOT)
    with Stage("images " + ", ".join(TARGETS)) as stage, engines.build_engine(paths, stage) as builder:
        built = _build_lacking(builder, tag, stage, paths.logs / "images.log")
        stage.note = f"tag {tag}, " + (f"{built} of {len(TARGETS)} built" if built else "from the cache")


def _build_lacking(builder: Engine, tag: str, stage: Stage, log: Path) -> int:
    """Build what the build engine lacks; returns how many images that were."""
    lacking = [target for target in TARGETS if not builder.has_image(image_name(target, tag))]
    if lacking:
        base = base_image(builder, stage, log)
    for target in lacking:
        stage.detail = f"docker build --target {target}"
        build(builder, target, image_name(target, tag), base, log)
    return len(lacking)


def image_name(target: str, tag: str) -> str:
    """The local name of an image, without a registry."""
    return f"chatcluster-{target}:{tag}"


def source_tag(root: Path) -> str:
    """A tag that changes exactly when something that `docker build` sees changes.

    Raises:
        LocalClusterError: `.dockerignore` holds a pattern that this function cannot follow.
    """
    digest = hashlib.sha256(f"{BASE_IMAGE} {_base_fingerprint()}".encode())
    for path in context_files(root):
        digest.update(f"{path.relative_to(root)} {path.stat().st_mode & 0o111 != 0}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def context_files(root: Path) -> list[Path]:
    """The files that the Dockerfile can copy, and itself.

    `.dockerignore` excludes everything (`*`), then says what is let in (`!name`) and what never is (`**/name`).
    """
    lines = (root / ".dockerignore").read_text().splitlines()
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    allowed = [rule[1:].rstrip("/") for rule in rules if rule.startswith("!")]
    excluded = {rule[3:] for rule in rules if rule.startswith("**/")}
    unknown = [rule for rule in rules if not rule.startswith(("!", "**/")) and rule != "*"]
    if rules[:1] != ["*"] or unknown or any(set(name) & set("*?[") for name in [*allowed, *excluded]):
        raise LocalClusterError(
            f".dockerignore: cannot follow {unknown or rules[:1]}",
            remedy="keep to `*` first, then `!name` and `**/name`",
        )
    tops = [root / name for name in ["Dockerfile", ".dockerignore", *allowed]]
    files = (path for top in tops for path in _files_below(top))
    return sorted(path for path in files if not excluded & set(path.relative_to(root).parts))


def _files_below(top: Path) -> Iterable[Path]:
    return [top] if top.is_file() else (path for path in top.rglob("*") if path.is_file())


def base_image(builder: Engine, stage: Stage, log: Path) -> str:
    """The image that all others begin with: pulled where a registry has it for us, else bootstrapped.

    Raises:
        LocalClusterError: it can be had in neither way.
    """
    local = f"chatcluster.local/base:{_base_fingerprint()}"
    if builder.private and builder.has_image(local):
        return local
    stage.detail = f"pulling {BASE_IMAGE}"
    if builder.pull(BASE_IMAGE, log=log):
        return BASE_IMAGE
    stage.detail = f"bootstrapping Debian {BASE_SUITE}: {BASE_IMAGE} cannot be pulled"
    require_root(f"{BASE_IMAGE} cannot be pulled, so Debian is bootstrapped")
    require_programs(BOOTSTRAP_PACKAGES, log=log, why="a base image")
    target = cache_root() / "tmp" / "base.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        bootstrap(BASE_SUITE, BASE_PACKAGES, target, log, BASE_OVERLAY)
        with target.open("rb") as stream:
            builder.docker("import", "--change", 'CMD ["bash"]', "-", local, log=log, stdin=stream)
    finally:
        target.unlink(missing_ok=True)
    return local


def _base_fingerprint() -> str:
    digest = hashlib.sha256(repr((BASE_SUITE, BASE_PACKAGES)).encode())
    for path in sorted(BASE_OVERLAY.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(BASE_OVERLAY)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def build(builder: Engine, target: str, name: str, base: str, log: Path) -> None:
    """Build one of `TARGETS` under this name.

    Raises:
        LocalClusterError: the build failed.
    """
    builder.docker(
        *["build", "--network", "host", "--target", target, "--build-arg", f"BASE_IMAGE={base}"],
        *["--tag", name, str(REPO_ROOT)],
        log=log,
        timeout_seconds=BUILD_SECONDS,
    )


def _load(cluster: KindCluster, builder: Engine, needed: list[str]) -> None:
    if not builder.private:
        nodestore.load_from_engine(cluster, needed)
        return
    identities = {name: builder.query("image", "inspect", "--format", "{{.Id}}", name) for name in needed}
    with ThreadPoolExecutor() as threads:
        for copied in [threads.submit(_load_node, cluster, node, builder, identities) for node in cluster.nodes]:
            copied.result()


def _load_node(cluster: KindCluster, node: str, builder: Engine, identities: Mapping[str, str | None]) -> None:
    present = nodestore.images_on_node(cluster, node)
    missing = []
    for name, identity in identities.items():
        # Another tag of the same image: containerd's CRI plugin keeps it under its identity, too.
        if identity in present:
            nodestore.tag_on_node(cluster, node, identity, name)
        else:
            missing.append(name)
    if missing:
        nodestore.copy_images(cluster, node, builder, missing)


def _forget_others(builder: Engine, needed: list[str], log: Path) -> None:
    """Remove this project's older tags from the build engine: layers that nothing uses go with them."""
    listed = builder.query("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=chatcluster-*")
    older = sorted(set((listed or "").split()) - set(needed))
    if not builder.private:
        return
    if older:
        builder.docker("image", "rm", "--force", *older, log=log)
    # Build stages of sources that are gone: the newest are the layer cache, and stay.
    builder.docker("image", "prune", "--force", "--filter", f"until={STAGE_HOURS}h", log=log)
