"""The node image for kind: pulled where a registry has it for us, else built from Debian and Kubernetes' Go modules."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import gomodules, toolchain
from localcluster.bootstrap import BOOTSTRAP_SECONDS, bootstrap
from localcluster.host import BOOTSTRAP_PACKAGES, require_programs, require_root
from localcluster.paths import cache_root
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from localcluster.engine import Engine
    from localcluster.paths import ClusterPaths
    from localcluster.progress import Stage

KINDEST_NODE = "kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
"""kind 0.30.0's own default, from its release notes."""

NODE_FOLDER = Path(__file__).parent / "node"

NODE_SUITE = "bookworm"
"""Debian 12: later ones have a systemd that refuses cgroup v1."""

NODE_PACKAGES = (
    "busybox-static",
    "catatonit",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "ethtool",
    "iproute2",
    "ipset",
    "iptables",
    "kmod",
    "libc-bin",
    "mount",
    "procps",
    "runc",
    "socat",
    "systemd",
    "systemd-sysv",
    "util-linux",
)

LOAD_SECONDS = 600
"""Seconds to give an engine the node image; about 10 s is usual."""

KEPT_ARCHIVES = 2
"""Node images kept as files: two checkouts of different releases would else undo each other's work."""

NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl", "kube-router")
"""Those that the node itself has, beside the images of its pods."""

ETCD_TAG = "3.6.12-0"
COREDNS_TAG = "v1.14.0"
"""The last one that is made for the Kubernetes client of 1.34."""


@dataclass(frozen=True)
class SystemImage:
    """An image that holds one static program.

    Attributes:
        reference: the name under which the cluster looks for it.
        program: a key of `gomodules.PROGRAMS`, or a path in the node's base, with `./`.
        target: where the image has it.
        entrypoint: what the image runs.
        user: as whom.
    """

    reference: str
    program: str
    target: str
    entrypoint: tuple[str, ...] = ()
    user: str = ""


_VERSION = gomodules.KUBERNETES_VERSION

SYSTEM_IMAGES = (
    *(
        SystemImage(f"registry.k8s.io/{name}:{_VERSION}", name, f"usr/local/bin/{name}")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    SystemImage(f"registry.k8s.io/etcd:{ETCD_TAG}", "etcd", "usr/local/bin/etcd"),
    SystemImage(f"registry.k8s.io/coredns/coredns:{COREDNS_TAG}", "coredns", "coredns", ("/coredns",)),
    SystemImage(
        "registry.k8s.io/metrics-server/metrics-server:v0.8.0",
        "metrics-server",
        "metrics-server",
        ("/metrics-server",),
        "65534",
    ),
    SystemImage(
        "docker.io/rancher/local-path-provisioner:v0.0.30",
        "local-path-provisioner",
        "usr/bin/local-path-provisioner",
        ("/usr/bin/local-path-provisioner",),
    ),
    SystemImage("registry.k8s.io/pause:3.10.1", "./usr/bin/catatonit", "pause", ("/pause", "-P"), "65535:65535"),
    SystemImage("chatcluster.local/local-path-helper:1", "./usr/bin/busybox", "bin/busybox", ("/bin/busybox",)),
)

KUBE_PROXY = f"registry.k8s.io/kube-proxy:{_VERSION}"

PROGRAMS = (
    *NODE_PROGRAMS,
    "kube-proxy",
    *(image.program for image in SYSTEM_IMAGES if not image.program.startswith("./")),
)
"""All that is built for the node image."""


def reference() -> str:
    """The name of the locally built node image; its tag stands for everything that decides its contents."""
    digest = hashlib.sha256()
    digest.update(repr((NODE_SUITE, NODE_PACKAGES, NODE_PROGRAMS, SYSTEM_IMAGES)).encode())
    for name in PROGRAMS:
        digest.update(gomodules.fingerprint(name).encode())
    for path in sorted(NODE_FOLDER.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(NODE_FOLDER)} {path.stat().st_mode & 0o111}".encode())
            digest.update(path.read_bytes())
    return f"chatcluster.local/node:{digest.hexdigest()[:12]}"


def archive() -> Path:
    """The node image as a file, from which each private engine loads it."""
    return cache_root() / "node" / f"{reference().rpartition(':')[2]}.tar"


def programs(stage: Stage, log: Path) -> dict[str, Path]:
    """The folders of the programs that the node image contains.

    Raises:
        LocalClusterError: a build failed.
    """
    return toolchain.ensure_all(PROGRAMS, stage, log)


def build(engine: Engine, paths: ClusterPaths, stage: Stage) -> None:
    """Build the node image in this engine.

    Raises:
        LocalClusterError: a program is missing or a step failed; its log says more.
    """
    log = paths.logs / "node-image.log"
    built = programs(stage, log)
    require_root("bootstrapping Debian for the node image")
    require_programs(BOOTSTRAP_PACKAGES, log=log, why="building the node image")
    work = Path(tempfile.mkdtemp(prefix="node-", dir=_made(cache_root() / "tmp")))
    try:
        stage.detail = f"bootstrapping Debian {NODE_SUITE} for the node"
        rootfs = work / "rootfs.tar"
        bootstrap(NODE_SUITE, NODE_PACKAGES, rootfs, log)
        base = _part("base")
        with rootfs.open("rb") as stream:
            engine.docker("import", "-", base, log=log, stdin=stream)
        stage.detail = "making the images of the system pods"
        for image in SYSTEM_IMAGES:
            _import_program(engine, image, built, rootfs, work, log)
        rootfs.unlink()
        _build_kube_proxy(engine, base, built["kube-proxy"], work, log)
        stage.detail = "assembling the node image"
        preloaded = _build_preloaded(engine, base, work, log)
        context = _node_context(built, work)
        build_arguments = ["--build-arg", f"NODE_BASE={base}", "--build-arg", f"PRELOADED={preloaded}"]
        engine.docker(
            "build", *build_arguments, "--tag", reference(), context, log=log, timeout_seconds=BOOTSTRAP_SECONDS
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def save(engine: Engine, log: Path) -> None:
    """Write the node image of this engine to `archive()` and remove it and its parts from the engine."""
    target = archive()
    _made(target.parent)
    newest_first = sorted(target.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for older in newest_first[KEPT_ARCHIVES - 1 :]:
        older.unlink()
    partial = target.with_suffix(".partial")
    engine.docker("save", "--output", partial, reference(), log=log, timeout_seconds=BOOTSTRAP_SECONDS)
    partial.rename(target)
    references = [reference(), _part("preloaded"), KUBE_PROXY, *(image.reference for image in SYSTEM_IMAGES)]
    engine.docker("image", "rm", "--force", *references, _part("base"), log=log)


def _import_program(
    engine: Engine, image: SystemImage, programs: dict[str, Path], rootfs: Path, work: Path, log: Path
) -> None:
    if image.program in programs:
        content = (programs[image.program] / image.program).read_bytes()
    else:
        with tarfile.open(rootfs) as archive_file:
            member = archive_file.extractfile(image.program)
            if member is None:
                raise LocalClusterError(f"{image.program} is missing in the node's base", log=log)
            content = member.read()
    layer = work / "layer.tar"
    with tarfile.open(layer, "w") as archive_file:
        entry = tarfile.TarInfo(image.target)
        entry.size, entry.mode = len(content), 0o755
        archive_file.addfile(entry, io.BytesIO(content))
        if image.target == "bin/busybox":
            for name in ("sh", "mkdir", "rm"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive_file.addfile(link)
    changes = ["--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin"]
    if image.entrypoint:
        words = ", ".join(f'"{word}"' for word in image.entrypoint)
        changes += ["--change", f"ENTRYPOINT [{words}]"]
    if image.user:
        changes += ["--change", f"USER {image.user}"]
    with layer.open("rb") as stream:
        engine.docker("import", *changes, "-", image.reference, log=log, stdin=stream)
    layer.unlink()


def _build_kube_proxy(engine: Engine, base: str, programs: Path, work: Path, log: Path) -> None:
    context = _made(work / "kube-proxy")
    shutil.copyfile(NODE_FOLDER / "kube-proxy.Dockerfile", context / "Dockerfile")
    shutil.copy(programs / "kube-proxy", context)
    engine.docker(
        *["build", "--network", "none", "--build-arg", f"NODE_BASE={base}", "--tag", KUBE_PROXY, str(context)],
        log=log,
        timeout_seconds=300,
    )


def _build_preloaded(engine: Engine, base: str, work: Path, log: Path) -> str:
    context = _made(work / "preload")
    shutil.copyfile(NODE_FOLDER / "preload.Dockerfile", context / "Dockerfile")
    shutil.copytree(NODE_FOLDER / "rootfs", context / "rootfs")
    references = [KUBE_PROXY, *(image.reference for image in SYSTEM_IMAGES)]
    engine.docker("save", "--output", context / "system.tar", *references, log=log, timeout_seconds=300)
    name = _part("preloaded")
    engine.docker(
        *["build", "--network", "none", "--build-arg", f"NODE_BASE={base}", "--tag", name, str(context)],
        log=log,
        timeout_seconds=300,
    )
    shutil.rmtree(context)
    return name


def _part(name: str) -> str:
    """The name of an image that only serves to build the node image."""
    return f"chatcluster.local/node-{name}:{reference().rpartition(':')[2]}"


def _node_context(programs: dict[str, Path], work: Path) -> Path:
    context = _made(work / "node")
    shutil.copy(NODE_FOLDER / "Dockerfile", context)
    shutil.copytree(NODE_FOLDER / "rootfs", context / "rootfs")
    (context / "rootfs" / "kind" / "version").write_text(f"{_VERSION}\n")
    for name in NODE_PROGRAMS:
        shutil.copy(programs[name] / name, _made(context / "bin"))
    return context


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
