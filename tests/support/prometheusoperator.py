"""The Prometheus Operator itself, built from its Go module: it runs beside a cluster, and makes what a test reads."""

from __future__ import annotations

import base64
import contextlib
import gzip
from typing import TYPE_CHECKING, Any

import yaml

from localcluster import toolchain
from localcluster.progress import Stage
from tests.support.apiserver import process
from tests.support.ports import free_port
from tests.support.prometheus import wait_ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MODULE = "prometheus-operator"

KINDS = tuple(
    f"monitoring.coreos.com_{kind}.yaml"
    for kind in ("podmonitors", "probes", "prometheuses", "prometheusrules", "servicemonitors")
)
"""Files of the kinds without which it runs no Prometheus; it leaves alone what others are for, such as Thanos."""

NAMESPACE = "monitoring"
"""Of the Prometheus, as docs/operations/monitoring.md has it."""

NAME = "chats"
"""Of the resource Prometheus."""

SELECTED = {"matchLabels": {"release": "kube-prometheus-stack"}}
"""The labels that docs/operations/monitoring.md gives to monitors and rules."""

PROMETHEUS_VERSION = "v3.16.0"
"""Of the Go module github.com/prometheus/prometheus v0.316.0: decides what the operator writes."""


def built(*names: str, log: Path) -> dict[str, Path]:
    """Programs of `localcluster.gomodules` by name; the first time they are compiled, for minutes."""
    found = toolchain.ensure_all(names, Stage("monitoring"), log)
    return {name: folder / name for name, folder in found.items()}


def kinds(log: Path) -> list[Path]:
    """The files of `KINDS`."""
    folder = toolchain.ensure(MODULE, Stage("monitoring"), log) / "crds"
    return [folder / file for file in KINDS]


@contextlib.contextmanager
def operating(kubeconfig: Path, folder: Path, image: str = "none") -> Iterator[str]:
    """Run the operator as the user of a kubeconfig; gives the URL of its metrics.

    Args:
        kubeconfig: Of the cluster.
        folder: For its log.
        image: With the program prometheus-config-reloader.
    """
    program = built(MODULE, log=folder / "build.log")[MODULE]
    port = free_port()
    log = folder / f"{MODULE}.log"
    with process(
        log,
        *("env", f"KUBECONFIG={kubeconfig}", str(program)),
        f"--web.listen-address=127.0.0.1:{port}",
        f"--prometheus-config-reloader={image}",
    ):
        wait_ready(f"http://127.0.0.1:{port}/healthz", log)
        yield f"http://127.0.0.1:{port}/metrics"


def prometheus(image: str = "none") -> dict[str, Any]:
    """A Prometheus that selects what the documented values of the chart label, in all namespaces."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "version": PROMETHEUS_VERSION,
            "replicas": 1,
            "serviceAccountName": "prometheus",
            "podMonitorSelector": SELECTED,
            "podMonitorNamespaceSelector": {},
            "ruleSelector": SELECTED,
            "ruleNamespaceSelector": {},
            "scrapeInterval": "5s",
            "evaluationInterval": "5s",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001},
        },
    }


def configuration(secret: Mapping[str, Any]) -> dict[str, Any]:
    """What the operator has written for Prometheus."""
    packed = base64.b64decode(secret["data"]["prometheus.yaml.gz"])
    found: dict[str, Any] = yaml.load(gzip.decompress(packed), yaml.CSafeLoader)
    return found


def rule_files(configmaps: list[Mapping[str, Any]]) -> dict[str, str]:
    """Rule files that the operator has made from PrometheusRules, by name."""
    named = [one for one in configmaps if one["metadata"]["name"].startswith(f"prometheus-{NAME}-rulefiles-")]
    return {name: text for one in named for name, text in one.get("data", {}).items()}
