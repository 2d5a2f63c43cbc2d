"""What is left of the ChatClusters of earlier tests, where no garbage collector runs: removed as it would."""

from __future__ import annotations

from typing import Any

import httpx

from chatoperator.kube.kinds import KINDS, Kind
from chatoperator.metadata import KIND, MANAGED_SELECTOR

WORKLOADS = (
    *(KINDS[name] for name in ("StatefulSet", "Deployment")),
    Kind("apps", "v1", "replicasets"),
    *(KINDS[name] for name in ("Job", "Pod")),
)
"""What Kubernetes' own controllers have work with."""


def collect(client: httpx.Client) -> None:
    """Delete the workloads of namespaces that have no ChatCluster any more."""
    kept = {item["metadata"]["namespace"] for item in _items(client, KINDS[KIND])}
    for kind in WORKLOADS:
        for namespace in {item["metadata"]["namespace"] for item in _items(client, kind)} - kept:
            query = {"labelSelector": MANAGED_SELECTOR, "propagationPolicy": "Background", "gracePeriodSeconds": "0"}
            client.delete(f"{kind.root}/namespaces/{namespace}/{kind.plural}", params=query).raise_for_status()


def _items(client: httpx.Client, kind: Kind) -> list[dict[str, Any]]:
    query = {} if kind == KINDS[KIND] else {"labelSelector": MANAGED_SELECTOR}
    answer = client.get(f"{kind.root}/{kind.plural}", params=query)
    # A server of a test's own may have no ChatClusters.
    if answer.status_code == httpx.codes.NOT_FOUND:
        return []
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return found
