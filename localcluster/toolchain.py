"""Build the pinned Kubernetes programs from their Go modules, once, into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from localcluster import binaries
from localcluster.process import output_of, run
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from localcluster.progress import Stage

GO_MODULES = Path(__file__).parent / "go"

KUBERNETES_VERSION = "v1.34.4"
"""The last minor release that runs on cgroup v1 unasked, and the one that kind 0.30 is made for."""

BUILD_TIMEOUT_SECONDS = 1800
"""Seconds for one module with empty caches; Kubernetes itself took 334 s on two busy cores."""

_LDFLAGS = "-s -w"

# Without these every component reports v0.0.0-master, and clients refuse to talk to such a server.
_KUBERNETES_LDFLAGS = " ".join(
    [
        _LDFLAGS,
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
        "-X k8s.io/component-base/version.gitMajor=1",
        "-X k8s.io/component-base/version.gitMinor=34",
        "-X k8s.io/component-base/version.gitTreeState=clean",
        "-X k8s.io/component-base/version.gitCommit=local",
        "-X k8s.io/component-base/version.buildDate=1970-01-01T00:00:00Z",
        f"-X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES_VERSION}",
    ]
)

# `go install` names a program after the last element of its path.
_RENAMED = {"etcd": ("server", "etcd")}

# Modules whose CustomResourceDefinitions are needed, in addition to their programs: (module, folder in it).
_SOURCES = {
    "cert-manager": ("github.com/cert-manager/cert-manager", "deploy/crds"),
    "gateway-api": ("sigs.k8s.io/gateway-api", "config/crd/standard"),
}

_REMEDY_GO = "install Go from https://go.dev/dl/ and run `make up` again"


def fingerprint(module: str) -> str:
    """Twelve hexadecimal digits over everything that decides what a module's build yields."""
    folder = GO_MODULES / module
    digest = hashlib.sha256()
    for part in (folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))):
        digest.update(part.read_bytes())
    digest.update(ldflags(module).encode())
    return digest.hexdigest()[:12]


def ldflags(module: str) -> str:
    """The linker flags of a module's build."""
    return _KUBERNETES_LDFLAGS if module == "kubernetes" else _LDFLAGS


def ensure(module: str, stage: Stage, log: Path) -> Path:
    """The folder with the module's programs, built if the cache lacks them.

    Args:
        module: a folder of `localcluster/go`.
        stage: shows what is being built.
        log: where the compiler's output goes.

    Raises:
        LocalClusterError: Go is missing or the build failed.
    """
    target = _target(module)
    if target.is_dir():
        return target
    if shutil.which("go") is None:
        raise LocalClusterError(f"{module} must be built and `go` is not on the PATH", remedy=_REMEDY_GO)
    with binaries.changing(stage):
        if not target.is_dir():
            stage.detail = f"building {module} from its Go modules"
            _build(module, target, log)
    return target


def _build(module: str, target: Path, log: Path) -> None:
    with binaries.making(target, rf"{re.escape(module)}-[0-9a-f]{{12}}") as building:
        run(
            ["go", "install", "-mod=readonly", "-trimpath", f"-ldflags={ldflags(module)}", "tool"],
            log=log,
            timeout_seconds=BUILD_TIMEOUT_SECONDS,
            cwd=GO_MODULES / module,
            env={**os.environ, "GOBIN": str(building), "CGO_ENABLED": "0", "GOWORK": "off"},
            remedy="the Go module proxy must be reachable the first time; see the log",
        )
        if module in _RENAMED:
            was, becomes = _RENAMED[module]
            (building / was).rename(building / becomes)
        if module in _SOURCES:
            _copy_source(module, building)


def _copy_source(module: str, into: Path) -> None:
    source, folder = _SOURCES[module]
    command = ["go", "mod", "download", "-json", source]
    said = output_of(command, timeout_seconds=BUILD_TIMEOUT_SECONDS, cwd=GO_MODULES / module)
    if said is None:
        raise LocalClusterError(f"{source} cannot be had", remedy=f"run {' '.join(command)} in {GO_MODULES / module}")
    (into / "crds").mkdir()
    for file in (Path(json.loads(said)["Dir"]) / folder).glob("*.yaml"):
        # Without its mode: Go's own copy is read-only.
        shutil.copyfile(file, into / "crds" / file.name)


def cached(module: str, program: str) -> Path | None:
    """A program that was built before, or None."""
    path = _target(module) / program
    return path if path.exists() else None


def _target(module: str) -> Path:
    return binaries.folder() / f"{module}-{fingerprint(module)}"
