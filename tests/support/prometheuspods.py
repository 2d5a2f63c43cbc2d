"""A Prometheus as a pod of a cluster, with the rights, the jobs and the rules that the documentation gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.support import scrapes
from tests.support.chart import CHART

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 9090

LABELS = {"app.kubernetes.io/name": "prometheus"}
"""Those that the documented `metricsFrom` names, which the Prometheus Operator gives its own pods too."""

DOCUMENTED_NAMESPACE = "monitoring"

RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

_GLOBAL = (
    "global: {scrape_interval: 5s, scrape_timeout: 3s, evaluation_interval: 5s}\nrule_files: [/config/rules.yaml]\n"
)


def peers() -> list[dict[str, Any]]:
    """The documented `metricsFrom`."""
    found: list[dict[str, Any]] = yaml.load(scrapes.block("spec:"), yaml.CSafeLoader)["spec"]["networkPolicies"][
        "metricsFrom"
    ]
    return found


def rights(namespace: str) -> list[dict[str, Any]]:
    """A service account with the documented rights, in the documented namespace or another one."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus", "namespace": namespace}}
    role, binding = yaml.load_all(
        scrapes.block("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole"), yaml.CSafeLoader
    )
    subjects = [{**subject, "namespace": namespace} for subject in binding["subjects"]]
    name = binding["metadata"]["name"] if namespace == DOCUMENTED_NAMESPACE else f"prometheus-pods-{namespace}"
    return [account, role, {**binding, "metadata": {"name": name}, "subjects": subjects}]


def plain(name: str, namespace: str, image: str) -> list[dict[str, Any]]:
    """A Prometheus with the documented jobs and the chart's file of rules."""
    files = {
        "prometheus.yml": _GLOBAL + scrapes.block("scrape_configs:"),
        "rules.yaml": (CHART / "monitoring" / "rules.yaml").read_text(),
    }
    metadata = {"name": name, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": LABELS}, "spec": _pod(name, image)},
    ]


def _pod(name: str, image: str) -> Mapping[str, Any]:
    return {
        "serviceAccountName": "prometheus",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "prometheus",
                "image": image,
                "imagePullPolicy": "Never",
                "args": [
                    "--config.file=/config/prometheus.yml",
                    "--storage.tsdb.path=/data",
                    f"--web.listen-address=:{PORT}",
                ],
                "ports": [{"name": "web", "containerPort": PORT}],
                "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "web"}, "periodSeconds": 1},
                "securityContext": RESTRICTED,
                "volumeMounts": [
                    {"name": "config", "mountPath": "/config"},
                    {"name": "data", "mountPath": "/data"},
                ],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": name}}, {"name": "data", "emptyDir": {}}],
    }
