"""What a deletion of the ChatCluster takes along: owner references follow spec.deletionPolicy, whatever else holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from chatoperator.kube.ownership import controller, is_chatcluster, retained_names
from chatoperator.metadata import labels, owner
from chatoperator.reconcile.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed

log = structlog.get_logger(__name__)


def retains(body: Manifest) -> bool:
    """Whether the volume and its Secrets outlive the ChatCluster; also where the rest of the spec cannot be read.

    What is neither of the two policies keeps them.
    """
    spec: Mapping[str, Any] = body.get("spec") or {}
    return spec.get("deletionPolicy") != "Delete"


def policy(body: Manifest, observed: Observed) -> str:
    """What a deletion would do now, as the owner references are: `Delete` where it took anything along."""
    there = [live for key in retained_names(body["metadata"]["name"]) if (live := observed.child(*key)) is not None]
    if not there:
        return "Retain" if retains(body) else "Delete"
    return "Delete" if any(_owned(live, body["metadata"]["uid"]) for live in there) else "Retain"


async def keep_owners(kube: Kube, cache: Cache, body: Manifest, observed: Observed) -> tuple[Observed, Outcome]:
    """Make the owner references of the volume's claim and its Secrets follow the policy.

    Before anything else of a reconcile: also where the ChatCluster is paused, its spec wrong, or another step fails. Of
    a ChatCluster that is being deleted things are only released.

    Returns:
        What there is after it, and what was refused.
    """
    outcome, metadata = Outcome(), body["metadata"]
    uid, retain = metadata["uid"], retains(body)
    children = dict(observed.children)
    for key, part in retained_names(metadata["name"]).items():
        live = observed.child(*key)
        if live is None or _owned(live, uid) != retain or (not retain and not _may_own(live, body)):
            continue
        others = [one for one in live["metadata"].get("ownerReferences") or [] if one["uid"] != uid]
        owners = others if retain else [*others, owner(metadata["name"], uid)]
        with outcome.collecting():
            changed = await kube.set_owners(key[0], live, owners, labels(metadata["name"], part))
            cache.note(changed)
            # The cache keeps none that has lost its labels.
            children = {**children, key: changed} if changed is not None else children
            log.info(
                "released" if retain else "owned",
                namespace=metadata["namespace"],
                name=metadata["name"],
                kind=key[0],
                child=key[1],
            )
    observed = replace(observed, children=children)
    with outcome.collecting():
        held = (body.get("status") or {}).get("deletionPolicy")
        if held not in (None, policy(body, observed)) and "deletionTimestamp" not in metadata:
            # Not with the rest of status: that may never be written where a later step fails.
            changed_policy = {"deletionPolicy": policy(body, observed)}
            cache.note(await kube.patch_status(metadata["namespace"], metadata["name"], changed_policy, uid=uid))
    return observed, outcome


def _owned(live: Manifest, uid: str) -> bool:
    return any(is_chatcluster(one) and one["uid"] == uid for one in live["metadata"].get("ownerReferences") or [])


def _may_own(live: Manifest, body: Manifest) -> bool:
    """Whether the ChatCluster can become the controller of an object."""
    return controller(live) is None and "deletionTimestamp" not in body["metadata"]
