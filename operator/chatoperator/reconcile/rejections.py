"""Why Kubernetes rejects the pods of a StatefulSet or a Job: only Events of their controllers say it, no condition."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import structlog

from chatoperator.errors import KubeError
from chatoperator.kube.objects import job_state
from chatoperator.metadata import STATEFUL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chatoperator.kube.client import Kube
    from chatoperator.metadata import Manifest, Part
    from chatoperator.observed import Observed

REASON = "FailedCreate"

FRESH_SECONDS = 60
"""How long after its creation a workload without a pod is looked at again by each pulse: its controller's first Event
comes a moment after the reconcile that made it, and wakes nobody. Later ones are found by the sweep."""

WORDS_MAX = 2_000
"""Characters of an Event's message that are read: Kubernetes' own have 1,024 at most."""

_ABOUT_THE_POD = re.compile(r"^(create Pod \S+ in StatefulSet \S+ failed error|Error creating): ")

log = structlog.get_logger(__name__)


def podless(cluster_name: str, observed: Observed, job_name: str | None) -> dict[Part, Manifest]:
    """The StatefulSets and the Job that should have a pod and have none."""
    found: dict[Part, Manifest] = {}
    for part in sorted(STATEFUL):
        live = observed.workload(cluster_name, part)
        if live is not None and not observed.component(part):
            found[part] = live
    job = observed.child("Job", job_name) if job_name else None
    if job is not None and job_name and job_state(job) is None and not observed.job_pods(job_name):
        found["migrate"] = job
    return found


def fresh(workloads: Iterable[Manifest], now: dt.datetime) -> bool:
    """Whether one of these has been made so recently that its controller may be about to say why it has no pod."""
    made = (dt.datetime.fromisoformat(workload["metadata"]["creationTimestamp"]) for workload in workloads)
    return any((now - at).total_seconds() < FRESH_SECONDS for at in made)


async def rejections(kube: Kube, workloads: Mapping[Part, Manifest]) -> dict[Part, str]:
    """Kubernetes' own words on why pods cannot be created, by part; nothing of a part of which it says nothing.

    Reads only the Events of these workloads, so that a healthy ChatCluster costs no request. Without an answer
    nothing is known: status continues without it.
    """
    messages = await asyncio.gather(*(_last(kube, part, workload) for part, workload in workloads.items()))
    return {part: words for part, words in zip(workloads, messages, strict=True) if words is not None}


async def _last(kube: Kube, part: Part, workload: Manifest) -> str | None:
    kind = "StatefulSet" if part in STATEFUL else "Job"
    try:
        events = await kube.events(kind, workload, REASON)
    except KubeError as error:
        log.warning("cannot read Events", kind=kind, child=workload["metadata"]["name"], error=str(error))
        return None
    newest = max(events, key=_last_seen, default=None)
    return None if newest is None else _ABOUT_THE_POD.sub("", str(newest.get("message") or "")[:WORDS_MAX]).rstrip(".")


def _last_seen(event: Mapping[str, Any]) -> str:
    """RFC 3339; of an Event that was repeated, the last time."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(at) for at in times if at), "")
