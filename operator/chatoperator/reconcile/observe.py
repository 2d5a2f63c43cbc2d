"""Reads the children from the cache, and looks up those that seem to be missing."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from chatoperator.kube.kept import stranger
from chatoperator.kube.kinds import CERTIFICATE
from chatoperator.kube.objects import pod
from chatoperator.kube.ownership import is_migrate_job, is_ours, is_pod_of, own_names
from chatoperator.metadata import (
    backup_tls_name,
    bus_secret_name,
    database_secret_name,
    probe_secret_name,
    tls_secret_name,
)
from chatoperator.observed import Observed, RestoreSource
from chatoperator.parts.losses import irreplaceables
from chatoperator.parts.remembered import recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.kube.cache import Cache
    from chatoperator.metadata import Manifest, ObjectKey
    from chatoperator.reconcile.digests import ObjectDigest

LOST_AFTER_SECONDS = 30
"""A terminating pod is killed when its grace period ends, and kubelet reports that within seconds. After this time the
node is lost, and the pod stays Terminating until the node comes back or its Node is deleted."""


def observe(cache: Cache, body: Manifest, now: dt.datetime) -> Observed:
    """The children and pods of a ChatCluster, and what only looks like one, as the cache has them.

    Args:
        cache: What lists and watches have delivered.
        body: The ChatCluster.
        now: The time with its zone.
    """
    metadata = body["metadata"]
    there = cache.owned((metadata["namespace"], metadata["name"]))
    children, others = sorted_out({key: raw for key, raw in there.items() if key[0] != "Pod"}, body)
    return Observed(
        children=children,
        pods=tuple(
            pod(raw, lost=is_lost(raw, now))
            for (kind, _), raw in there.items()
            if kind == "Pod" and is_pod_of(raw, metadata["name"], children, others)
        ),
        others=others,
    )


def sorted_out(
    found: Mapping[ObjectKey, Manifest], body: Manifest
) -> tuple[dict[ObjectKey, Manifest], dict[ObjectKey, Manifest]]:
    """Split what was found into the ChatCluster's own, and what the operator must not touch."""
    metadata, known = body["metadata"], set(recorded(body).values())
    name, uid = metadata["name"], metadata["uid"]
    ours = {key: raw for key, raw in found.items() if is_ours(key[0], raw, name=name, uid=uid, known=known)}
    return ours, {key: raw for key, raw in found.items() if key not in ours}


def with_writes(cache: Cache, body: Manifest, observed: Observed) -> Observed:
    """The same children, those that were written meanwhile as the API server answered."""
    written = cache.owned((body["metadata"]["namespace"], body["metadata"]["name"]))
    there, _ = sorted_out({key: raw for key, raw in written.items() if key[0] != "Pod"}, body)
    return replace(observed, children={**observed.children, **there})


def is_lost(pod: Manifest, now: dt.datetime) -> bool:
    """Whether a pod should have gone and its node does not say that it has."""
    # The API server sets it to the end of the pod's grace.
    leaves_by = pod["metadata"].get("deletionTimestamp")
    if leaves_by is None:
        return False
    return now - dt.datetime.fromisoformat(leaves_by) > dt.timedelta(seconds=LOST_AFTER_SECONDS)


async def confirmed(cache: Cache, body: Manifest, observed: Observed, keys: Iterable[ObjectKey]) -> Observed:
    """The same, but that these objects are absent only where the API server itself says so.

    A watch may be late, and an object whose labels were lost is in no watch at all; what is taken for absent would be
    recreated, or written into somebody else's object.

    Args:
        cache: Looks up those that are missing.
        body: The ChatCluster.
        observed: What there is as far as the cache knows.
        keys: What to look for.

    Raises:
        KubeError: The API server did not answer.
    """
    # An object that lost its owner is known by the managers of its fields, which the cache does not keep.
    missing = [key for key in dict.fromkeys(keys) if key not in observed.children]
    if not missing:
        return observed
    namespace = body["metadata"]["namespace"]

    async def look(key: ObjectKey) -> Manifest | None:
        raw = await cache.look_again(key[0], namespace, key[1])
        # There may be a megabyte in each of the names.
        return raw if raw is None or sorted_out({key: raw}, body)[0] else stranger(raw)

    found = await asyncio.gather(*map(look, missing))
    there = {key: raw for key, raw in zip(missing, found, strict=True) if raw is not None}
    children, others = sorted_out(there, body)
    kept = {key: raw for key, raw in observed.others.items() if key not in missing}
    return replace(observed, children={**observed.children, **children}, others={**kept, **others})


def credentials_of(cluster: ChatCluster, observed: Observed) -> list[ObjectKey]:
    """(kind, name) of the children whose content is made once, or served to clients; without it others are made."""
    made = {*irreplaceables(cluster, observed)}
    if cluster.database.external_secret_name is None:
        made.add(("Secret", database_secret_name(cluster.name)))
    if cluster.ingress.tls_secret_name != tls_secret_name(cluster.name):
        # In mode Secret it may hold the last good pair. One of this name that the spec itself names is the user's.
        made.add(("Secret", tls_secret_name(cluster.name)))
    if cluster.monitoring.probe.enabled:
        made.add(("Secret", probe_secret_name(cluster.name)))
    if cluster.bus.valkeys is not None:
        made.add(("Secret", bus_secret_name(cluster.name)))
    if cluster.database.backup is not None:
        made.add(("Secret", backup_tls_name(cluster.name)))
    return sorted(made)


def source_of(cache: Cache, cluster: ChatCluster) -> RestoreSource | None:
    """The ChatCluster with whose data this one begins; None where database.restore names none."""
    restore = cluster.database.restore
    named = restore.source.chat_cluster if restore is not None else None
    if named is None:
        return None
    key = (cluster.namespace, named.name)
    body = cache.chatcluster(key)
    if body is None:
        return RestoreSource()
    database = (body.get("spec") or {}).get("database") or {}
    certificate = ("Secret", backup_tls_name(named.name)) in cache.owned(key)
    return RestoreSource(exists=True, backed_up=bool(database.get("backup")), certificate=certificate)


def names_of(desired: Iterable[ObjectDigest], observed: Observed) -> list[ObjectKey]:
    """(kind, name) of all that there is to be, and of the Secret that a new Certificate would have filled."""
    made = [one.key for one in desired]
    certificates = [key for key in made if key[0] == CERTIFICATE and key not in observed.children]
    return made + [("Secret", name) for _, name in certificates]


def taken(cluster: ChatCluster, observed: Observed) -> frozenset[ObjectKey]:
    """(kind, name) of others' objects with a name that the operator makes."""
    names = own_names(cluster.name)
    return frozenset(
        (kind, name)
        for kind, name in observed.others
        if (kind, name) in names or (kind == "Job" and is_migrate_job(cluster.name, name))
    )
