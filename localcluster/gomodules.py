"""Which Go module of `localcluster/go` each program is built from, and what decides the result of its build."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GO_MODULES = Path(__file__).parent / "go"

KUBERNETES_VERSION = "v1.34.4"
"""The last minor release that runs on cgroup v1 unasked, and the one that kind 0.30 is made for."""


@dataclass(frozen=True)
class Program:
    """A program, or the CustomResourceDefinitions of a project.

    Attributes:
        module: a folder of `localcluster/go`.
        package: of the program; empty: there is only `crds`.
        crds: the module and the folder in it that has the CustomResourceDefinitions; None: none are needed.
        alone: not built in one command with others, because Go rejects one import path in two spellings.
    """

    module: str
    package: str = ""
    crds: tuple[str, str] | None = None
    alone: bool = False

    @property
    def binary(self) -> str:
        """The name that `go install` gives the program: the last element of its path that is no major version.

        Example:
            `go.etcd.io/etcd/server/v3` -> `server`.
        """
        *parents, last = self.package.rstrip("/").split("/")
        return parents[-1] if parents and last[:1] == "v" and last[1:].isdigit() else last


# What a first chat needs is one module: packages that several programs use, such as Kubernetes' client, have one
# version and are compiled once. The rest serves tests only, and is built when they need it.
PROGRAMS: Mapping[str, Program] = {
    **{
        name: Program("cluster", f"k8s.io/kubernetes/cmd/{name}")
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubeadm",
            "kubectl",
            "kubelet",
        )
    },
    "coredns": Program("cluster", "chatcluster.io/localcluster/cluster/coredns"),
    "etcd": Program("cluster", "go.etcd.io/etcd/server/v3"),
    "helm": Program("cluster", "helm.sh/helm/v3/cmd/helm"),
    "kind": Program("cluster", "sigs.k8s.io/kind"),
    "kube-router": Program("cluster", "chatcluster.io/localcluster/cluster/kube-router"),
    "local-path-provisioner": Program("cluster", "github.com/rancher/local-path-provisioner", alone=True),
    "metrics-server": Program("cluster", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    "cert-manager": Program(
        "cert-manager",
        "chatcluster.io/localcluster/cert-manager",
        ("github.com/cert-manager/cert-manager", "deploy/crds"),
    ),
    "fake-gcs-server": Program("fake-gcs-server", "chatcluster.io/localcluster/fake-gcs-server"),
    "gateway-api": Program("gateway-api", crds=("sigs.k8s.io/gateway-api", "config/crd/standard")),
    "kube-score": Program("kube-score", "github.com/zegl/kube-score/cmd/kube-score"),
    "kubeconform": Program("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    "kwok": Program("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "prometheus": Program("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
    # Two modules: the operator does not compile with the newest Prometheus, whose parser of rules it calls.
    "prometheus-config-reloader": Program(
        "prometheus-operator", "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
    ),
    "prometheus-operator": Program(
        "prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator/cmd/operator",
        ("github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd"),
    ),
    "versitygw": Program("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
}

TAGS: Mapping[str, str] = {"prometheus": "remove_all_sd,enable_kubernetes_sd"}
"""Build tags by module. Prometheus without them compiles the clients of two dozen clouds to discover targets there."""

# -s -w: without symbols and debugging information. The versions are Kubernetes': without them every component of it
# reports v0.0.0-master, and clients refuse to talk to such a server. Programs without these variables ignore them.
LDFLAGS = " ".join(
    [
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
        "-X k8s.io/component-base/version.gitMajor=1",
        "-X k8s.io/component-base/version.gitMinor=34",
        "-X k8s.io/component-base/version.gitTreeState=clean",
        "-X k8s.io/component-base/version.gitCommit=local",
        "-X k8s.io/component-base/version.buildDate=1970-01-01T00:00:00Z",
        f"-X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES_VERSION}",
    ]
)

# -dwarf=false: nobody compiles debugging information that the linker then leaves out.
BUILD_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", f"-ldflags={LDFLAGS}")


def build_flags(module: str) -> tuple[str, ...]:
    """What `go install` gets for the programs of a module."""
    return (*BUILD_FLAGS, f"-tags={TAGS[module]}") if module in TAGS else BUILD_FLAGS


def fingerprint(name: str) -> str:
    """Twelve hexadecimal digits over everything that decides what a program's build yields."""
    program = PROGRAMS[name]
    folder = GO_MODULES / program.module
    digest = hashlib.sha256(repr((program, build_flags(program.module))).encode())
    for part in (folder / "go.mod", folder / "go.sum", *sorted(folder.rglob("*.go"))):
        digest.update(part.read_bytes())
    return digest.hexdigest()[:12]


def batches(names: Iterable[str]) -> list[list[str]]:
    """The programs that one command builds: those of one module, except those that must be built alone.

    Example:
        kind, local-path-provisioner, kwok and helm -> kind and helm; local-path-provisioner; kwok.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name if PROGRAMS[name].alone else PROGRAMS[name].module, []).append(name)
    return list(found.values())
