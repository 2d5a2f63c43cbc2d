"""The metrics of the operator's process; `chats.py` has those of each ChatCluster."""

from __future__ import annotations

from chatoperator.metrics import chats
from chatoperator.metrics.prometheus import REGISTRY, counter, gauge, histogram

__all__ = ["REGISTRY", "chats"]

RECONCILES = counter("chatcluster_reconcile_total", "Reconciles, by result: ok or error.", ["result"])
RECONCILE_SECONDS = histogram(
    "chatcluster_reconcile_seconds", "Duration of reconciles.", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
)
REQUESTS = counter(
    "chatcluster_kube_requests_total", "Requests to the API server, by method and status.", ["method", "status"]
)
RELISTS = counter(
    "chatcluster_cache_lists_total",
    "Full lists that the cache requested, by kind; more than one per start and kind means interrupted watches.",
    ["kind"],
)
CACHED = gauge("chatcluster_cache_objects", "Objects in the cache of the operator.")
CACHED_BYTES = gauge("chatcluster_cache_bytes", "Memory that the cached objects use, in bytes.")
WITHOUT_ROOM = gauge(
    "chatcluster_cache_without_room_objects",
    "Objects of a namespace that the operator does not cache, because its memory is full; absent if all fit.",
    ["namespace"],
)
UNREADABLE_ANSWERS = counter(
    "chatcluster_unreadable_answers_total",
    "Invalid answers of chatservers, ingresses and database agents, by part.",
    ["part"],
)
LOOP_FAILURES = counter(
    "chatcluster_loop_failures_total",
    "Unexpected errors in the loops of the operator, by loop; the operator restarts the loop.",
    ["loop"],
)
QUEUE_WAIT = histogram(
    "chatcluster_queue_wait_seconds",
    "Time between a ChatCluster becoming due and the start of its reconcile.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
QUEUE_OLDEST = gauge(
    "chatcluster_queue_oldest_seconds",
    "Time that the ChatCluster which has waited longest has waited for its reconcile now.",
)
QUEUED = gauge("chatcluster_queued", "ChatClusters that wait for a reconcile.")
OLDEST_DUE = gauge(
    "chatcluster_oldest_due_seconds", "Longest time that a ChatCluster had waited for its reconcile, at the last sweep."
)
APPLIES = counter("chatcluster_apply_total", "Objects that the operator applied, by kind.", ["kind"])
LEADING = gauge("chatcluster_leading", "1 if this operator process holds the Lease, else 0.")
LAST_SWEEP = gauge(
    "chatcluster_last_sweep_timestamp_seconds", "Unix time of the last complete sweep over all ChatClusters."
)
DRAIN_SECONDS = histogram(
    "chatcluster_drain_seconds",
    "Time between the deletion of a chatserver's pod and its end.",
    buckets=(1, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600),
)
ROTATION_SECONDS = histogram(
    "chatcluster_rotation_seconds",
    "Duration of rotations by kind: credentials (the passwords of the database).",
    ["kind"],
    buckets=(5, 10, 30, 60, 120, 300, 600, 1200, 3600),
)
BUILD_INFO = gauge("chatcluster_build_info", "1 for the version of the operator.", ["version"])
