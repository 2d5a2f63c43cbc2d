"""Reads what there is: one ChatCluster's children, and the Secrets that its user provides."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

from chatoperator.kube import CHILD_KINDS
from chatoperator.manifests.metadata import (
    chatserver_secret_name,
    claim_name,
    database_secret_name,
    instance_selector,
)
from chatoperator.observed import Observed, pod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.kube import Kube
    from chatoperator.manifests.metadata import Manifest
    from chatoperator.spec import ChatCluster


LOST_AFTER_SECONDS = 30
"""A pod that is to go is killed when its grace ends, and kubelet says so within seconds. Later than this nobody says it
any more: the node is lost, and the pod stays Terminating until it comes back or its Node is deleted."""


async def observe(kube: Kube, namespace: str, name: str, now: dt.datetime) -> Observed:
    """The children and pods of a ChatCluster.

    Args:
        kube: The API server.
        namespace: Of the ChatCluster.
        name: Of the ChatCluster.
        now: The time with its zone.

    Raises:
        KubeError: The API server did not answer.
    """
    instance = instance_selector(name)
    *lists, pods = await asyncio.gather(
        *(kube.list(kind, namespace, instance) for kind in CHILD_KINDS),
        kube.list("Pod", namespace, instance),
    )
    children = {
        (kind, child["metadata"]["name"]): {**child, "kind": kind}
        for kind, found in zip(CHILD_KINDS, lists, strict=True)
        for child in found
    }
    # By name too: a Secret or claim whose labels were lost must never be taken for absent.
    for kind, child_name in (
        ("Secret", database_secret_name(name)),
        ("Secret", chatserver_secret_name(name)),
        ("PersistentVolumeClaim", claim_name(name)),
    ):
        if (kind, child_name) not in children:
            child = await kube.get(kind, namespace, child_name)
            if child is not None:
                children[kind, child_name] = child
    return Observed(children=children, pods=tuple(pod(raw, lost=is_lost(raw, now)) for raw in pods))


def is_lost(pod: Manifest, now: dt.datetime) -> bool:
    """Whether a pod should have gone and its node does not say that it has."""
    # The API server sets it to the end of the pod's grace.
    leaves_by = pod["metadata"].get("deletionTimestamp")
    if leaves_by is None:
        return False
    return now - dt.datetime.fromisoformat(leaves_by) > dt.timedelta(seconds=LOST_AFTER_SECONDS)


async def named_secrets(kube: Kube, cluster: ChatCluster) -> Mapping[str, Manifest | None]:
    """The Secrets that the user provides, which carry no label of ours, by name; None where one does not exist.

    Raises:
        KubeError: The API server did not answer.
    """
    webhook = cluster.auth.webhook
    wanted = (
        cluster.database.external_secret_name,
        cluster.ingress.tls_secret_name,
        webhook.secret_name if webhook else None,
    )
    names = [name for name in wanted if name]
    found = await asyncio.gather(*(kube.get("Secret", cluster.namespace, name) for name in names))
    return dict(zip(names, found, strict=True))
