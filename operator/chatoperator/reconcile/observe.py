"""Reads what there is from the cache, makes sure of it where that matters, and reads the user's own Secrets."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from chatoperator.manifests.metadata import (
    ca_secret_name,
    chatserver_secret_name,
    claim_name,
    database_secret_name,
    issued_secret_name,
    tls_secret_name,
)
from chatoperator.observed import Observed, pod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.cache import Cache
    from chatoperator.kube import Kube
    from chatoperator.lanes import Key
    from chatoperator.manifests.metadata import Manifest
    from chatoperator.spec import ChatCluster


LOST_AFTER_SECONDS = 30
"""A pod that is to go is killed when its grace ends, and kubelet says so within seconds. Later than this nobody says it
any more: the node is lost, and the pod stays Terminating until it comes back or its Node is deleted."""


def observe(cache: Cache, key: Key, now: dt.datetime) -> Observed:
    """The children and pods of a ChatCluster, as the cache has them.

    Args:
        cache: What the API server has told.
        key: The ChatCluster.
        now: The time with its zone.
    """
    there = cache.owned(key)
    return Observed(
        children={place: raw for place, raw in there.items() if place[0] != "Pod"},
        pods=tuple(pod(raw, lost=is_lost(raw, now)) for (kind, _), raw in there.items() if kind == "Pod"),
    )


def with_writes(cache: Cache, key: Key, observed: Observed) -> Observed:
    """The same children, those that were written meanwhile as the API server answered."""
    there = {place: raw for place, raw in cache.owned(key).items() if place[0] != "Pod"}
    return replace(observed, children={**observed.children, **there})


def is_lost(pod: Manifest, now: dt.datetime) -> bool:
    """Whether a pod should have gone and its node does not say that it has."""
    # The API server sets it to the end of the pod's grace.
    leaves_by = pod["metadata"].get("deletionTimestamp")
    if leaves_by is None:
        return False
    return now - dt.datetime.fromisoformat(leaves_by) > dt.timedelta(seconds=LOST_AFTER_SECONDS)


async def confirmed(cache: Cache, cluster: ChatCluster, observed: Observed) -> Observed:
    """The same, but that what cannot be made a second time is absent only where the API server itself says so.

    A watch may be late, and a Secret whose labels were lost is in no watch at all; a password made anew would lock
    the servers out of their database.

    Raises:
        KubeError: The API server did not answer.
    """
    missing = [key for key in _irreplaceable(cluster, observed) if key not in observed.children]
    if not missing:
        return observed
    found = await asyncio.gather(*(cache.look_again(kind, cluster.namespace, name) for kind, name in missing))
    there = {key: raw for key, raw in zip(missing, found, strict=True) if raw is not None}
    return replace(observed, children={**observed.children, **there})


def _irreplaceable(cluster: ChatCluster, observed: Observed) -> list[tuple[str, str]]:
    """(kind, name) of the children whose content is made once."""
    names = [("Secret", chatserver_secret_name(cluster.name))]
    if cluster.database.external_secret_name is None:
        names += [
            ("Secret", database_secret_name(cluster.name)),
            ("PersistentVolumeClaim", claim_name(cluster.name)),
        ]
    # In mode Secret it may hold the last good pair.
    names.append(("Secret", tls_secret_name(cluster.name)))
    # An authority of its own is not made where there is a certificate by cert-manager.
    issued = ("Secret", issued_secret_name(cluster.name)) in observed.children
    if cluster.ingress.tls_secret_name is None and not issued:
        names.append(("Secret", ca_secret_name(cluster.name)))
    return names


async def named_secrets(kube: Kube, cluster: ChatCluster) -> Mapping[str, Manifest | None]:
    """The Secrets that the user provides, which carry no label of ours, by name; None where one does not exist.

    Raises:
        KubeError: The API server did not answer.
    """
    webhook, external = cluster.auth.webhook, cluster.database.external
    wanted = (
        *((external.secret_name, external.ca_secret_name) if external else ()),
        cluster.ingress.tls_secret_name,
        webhook.secret_name if webhook else None,
    )
    names = sorted({name for name in wanted if name})
    found = await asyncio.gather(*(kube.get("Secret", cluster.namespace, name) for name in names))
    return dict(zip(names, found, strict=True))
