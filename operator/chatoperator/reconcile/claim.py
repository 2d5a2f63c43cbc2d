"""A claim that the API server does not change: keep what it has and apply the rest, or recreate an unbound one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from chatoperator.api.quantity import number
from chatoperator.metadata import digest
from chatoperator.parts.database.trouble import ClaimRefusal
from chatoperator.parts.remembered import is_bound
from chatoperator.reporting.events import EventContent

if TYPE_CHECKING:
    from chatoperator.errors import KubeError
    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest

FORBIDDEN, INVALID = 403, 422
"""Statuses with which the API server refuses a change: what admission forbids, what validation finds wrong."""

log = structlog.get_logger(__name__)


async def keep_claim(
    kube: Kube, cache: Cache, claim: Manifest, live: Manifest, error: KubeError, now: float
) -> ClaimRefusal | EventContent:
    """After a refusal to change a claim's class or size: apply all else of it.

    Args:
        kube: The API server.
        cache: Gets what the API server answered.
        claim: As it should be.
        live: As it is.
        error: The refusal.
        now: Seconds of a monotonic clock.

    Returns:
        What is to be remembered, so that the same is not sent again at once; or, where the claim had no volume, the
        Event that it was deleted: the next round creates it as the spec requires.

    Raises:
        KubeError: The refusal was about something else, or this was refused too.
    """
    kept = _kept(claim, live)
    if error.status not in (FORBIDDEN, INVALID) or kept == claim:
        raise error
    name, spec = claim["metadata"]["name"], live["spec"]
    before, after = spec.get("storageClassName"), claim["spec"].get("storageClassName")
    if not is_bound(live) and _differs(claim, live):
        # Refused where it has been bound meanwhile.
        await kube.delete("PersistentVolumeClaim", live, unchanged=True)
        log.info("claim replaced", claim=name, was=before, now=after)
        return EventContent(
            warning=False,
            reason="ClaimReplaced",
            message=f"PersistentVolumeClaim {name} had no volume yet and is recreated with storage class "
            f"{after or '(the default)'} instead of {before or '(none)'}",
        )
    cache.note(await kube.apply(kept, uid=live["metadata"]["uid"]))
    log.warning("claim change rejected", claim=name, error=str(error))
    other_class = after is not None and after != before
    return ClaimRefusal(digest(claim), _reason(error), now, storage_class=before if other_class else None)


def _kept(claim: Manifest, live: Manifest) -> Manifest:
    """The claim with the class and the size that it has."""
    spec = {**claim["spec"], "resources": {"requests": {"storage": live["spec"]["resources"]["requests"]["storage"]}}}
    if "storageClassName" in live["spec"]:
        spec["storageClassName"] = live["spec"]["storageClassName"]
    return {**claim, "spec": spec}


def _differs(claim: Manifest, live: Manifest) -> bool:
    desired, has = (one["spec"]["resources"]["requests"]["storage"] for one in (claim, live))
    after = claim["spec"].get("storageClassName")
    return number(desired) != number(has) or after != live["spec"].get("storageClassName")


def _reason(error: KubeError) -> str:
    """The API server's own words, without the request."""
    return str(error).rsplit(" is forbidden: ", maxsplit=1)[-1]
