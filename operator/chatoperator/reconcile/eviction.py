"""Tells the cluster autoscaler which pods may leave a node that it wants to remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import SAFE_TO_EVICT_VOLUMES_ANNOTATION

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.observed import Observed

SCRATCH_VOLUMES = {"ingress": "tmp,run", "chatserver": "tmp"}
"""By part, emptyDirs whose loss costs nothing; with one that is not named, the autoscaler never removes the node.
PostgreSQL has some, too: its eviction is an outage, which is not worth a node. A migration is not to be interrupted."""


async def allow(kube: Kube, cache: Cache, cluster: ChatCluster, observed: Observed) -> None:
    """Annotate running pods. Their templates are not: an upgrade of the operator restarts nothing.

    Raises:
        KubeError: The API server refused an annotation.
    """
    for pod in observed.pods:
        volumes = SCRATCH_VOLUMES.get(pod.component)
        if volumes is not None and not pod.terminating and not pod.eviction_told:
            told = {SAFE_TO_EVICT_VOLUMES_ANNOTATION: volumes}
            cache.note(await kube.annotate("Pod", cluster.namespace, pod.name, told))
