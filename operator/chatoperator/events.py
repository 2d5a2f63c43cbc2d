"""Kubernetes Events about a ChatCluster, as manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.manifests.metadata import Manifest

GOOD_WHEN_FALSE = frozenset({"Progressing", "ScalingLimited", "Paused", "DevelopmentCodes", "UpgradeAvailable"})
"""Conditions whose False is no warning."""

WARNINGS = frozenset({"InvalidSpec", "ApplyFailed", "MigrationFailed", "WebhookSecretMissing"})
"""Reasons that are warnings whatever their condition."""


def event(body: Manifest, condition: Mapping[str, str], *, pod_name: str, now: str, suffix: str) -> Manifest:
    """An Event for a condition that turned.

    Args:
        body: The ChatCluster.
        condition: The condition, as status holds it.
        pod_name: The operator's pod.
        now: RFC 3339.
        suffix: Makes the Event's name unique.
    """
    metadata = body["metadata"]
    bad = condition["reason"] in WARNINGS or (
        condition["status"] == "False" and condition["type"] not in GOOD_WHEN_FALSE
    )
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{suffix}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning" if bad else "Normal",
        "reason": condition["reason"],
        "message": f"{condition['type']} is {condition['status']}: {condition['message']}",
        "source": {"component": "chatcluster-operator", "host": pod_name},
        "reportingComponent": "chatcluster-operator",
        "reportingInstance": pod_name,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
