"""Annotates running pods: kubelet then refreshes what they mount at once, and nodes can be drained of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import (
    CERTIFICATE_HASH_ANNOTATION,
    CREDENTIALS_HASH_ANNOTATION,
    SAFE_TO_EVICT_VOLUMES_ANNOTATION,
    bus_secret_name,
    database_secret_name,
    digest,
    part_name,
    tls_secret_name,
)
from chatoperator.parts.backup.configuration import plan

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from chatoperator.desired import Desired
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import ObjectKey
    from chatoperator.observed import Observed
    from chatoperator.reconcile.outcome import Outcome

SCRATCH_VOLUMES = {"ingress": "tmp,run", "chatserver": "tmp", "bus": "tmp,run"}
"""By part, emptyDirs whose loss costs nothing; with one that is not named, the autoscaler never removes the node.
PostgreSQL has some, too: its eviction is an outage, which is not worth a node. A migration is not to be interrupted."""


async def touch(kube: Kube, cache: Cache, desired: Desired, observed: Observed, outcome: Outcome) -> None:
    """Annotate the pods that need it. After a refusal the next kind of annotation is written all the same."""
    unwritten = outcome.refused.keys() | desired.withheld
    for annotation, values in (
        (CREDENTIALS_HASH_ANNOTATION, stale_mounts(desired, observed, unwritten)),
        (CERTIFICATE_HASH_ANNOTATION, stale_certificates(desired, observed, unwritten)),
        (SAFE_TO_EVICT_VOLUMES_ANNOTATION, without_eviction_rule(observed)),
    ):
        with outcome.collecting():
            for pod_name, value in values.items():
                cache.note(await kube.annotate("Pod", desired.cluster.namespace, pod_name, {annotation: value}))


def stale_mounts(desired: Desired, observed: Observed, unwritten: Collection[ObjectKey]) -> Mapping[str, str]:
    """The hash to write on each pod that has not got the last change of a Secret or ConfigMap that it re-reads.

    Args:
        desired: The content that the pods should have.
        observed: The pods.
        unwritten: (kind, name) of objects that were not written: their content is not there to be mounted, and the
            annotation would claim that it was.

    Returns:
        By the name of the pod.
    """
    cluster, credentials, database = desired.cluster, desired.credentials, desired.database
    sources = {
        ("Secret", database_secret_name(cluster.name)),
        ("ConfigMap", part_name(cluster.name, "postgres")),
    }
    hashes: dict[str, str] = {}
    if cluster.database.external_secret_name is None and sources.isdisjoint(unwritten):
        hashes = {
            "chatserver": credentials.dsn_digest,
            "postgres": digest([credentials.revision, credentials.dsn_digest, database.revision]),
        }
    bus = desired.bus.credentials
    if bus is not None and ("Secret", bus_secret_name(cluster.name)) not in unwritten:
        hashes["chatserver"] = digest([hashes.get("chatserver"), bus.client_digest(credentials.chatserver_key)])
    backup, spec = ("ConfigMap", part_name(cluster.name, "backup")), cluster.database.backup
    if spec is not None and desired.backup is not None and backup not in unwritten:
        # What the agent re-reads; whatever pgBackRest itself reads it reads each time.
        hashes["backup"] = digest(plan(spec, desired.backup.requests))
    return {
        pod.name: hashes[pod.component]
        for pod in observed.pods
        if pod.component in hashes and not pod.terminating and pod.credentials_digest != hashes[pod.component]
    }


def stale_certificates(desired: Desired, observed: Observed, unwritten: Collection[ObjectKey]) -> Mapping[str, str]:
    """The same for the HAProxy pods and the certificate that they serve, and for the probe, which accepts no other."""
    made = desired.serving.digest
    if made is None or ("Secret", tls_secret_name(desired.cluster.name)) in unwritten:
        return {}
    pods = (*observed.component("ingress"), *observed.component("probe"))
    return {pod.name: made for pod in pods if not pod.terminating and pod.certificate_digest != made}


def without_eviction_rule(observed: Observed) -> Mapping[str, str]:
    """For each pod that lacks it, the volumes that let the cluster autoscaler evict it from a node to be removed.

    The pods' templates are not annotated: an upgrade of the operator restarts nothing.
    """
    return {
        pod.name: SCRATCH_VOLUMES[pod.component]
        for pod in observed.pods
        if pod.component in SCRATCH_VOLUMES and not pod.terminating and not pod.has_eviction_rule
    }
