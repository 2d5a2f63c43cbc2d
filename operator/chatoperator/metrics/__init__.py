"""The metrics of the operator, for Prometheus."""

from __future__ import annotations

from chatoperator.metrics.prometheus import counter, gauge, histogram

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
QUEUED = gauge("chatcluster_queued", "ChatClusters that wait for a reconcile.")
OLDEST_DUE = gauge(
    "chatcluster_oldest_due_seconds", "Longest time that a ChatCluster had waited for its reconcile, at the last sweep."
)
APPLIES = counter("chatcluster_apply_total", "Objects that the operator applied, by kind.", ["kind"])
DESIRED_REPLICAS = gauge("chatcluster_desired_replicas", "Desired number of chatservers.", ["namespace", "name"])
CONNECTIONS = gauge(
    "chatcluster_connections", "Open WebSocket connections of all chatservers together.", ["namespace", "name"]
)
READY = gauge("chatcluster_ready", "1 if the condition Ready is True, else 0.", ["namespace", "name"])
LEADING = gauge("chatcluster_leading", "1 if this operator process holds the Lease, else 0.")
LAST_SWEEP = gauge(
    "chatcluster_last_sweep_timestamp_seconds", "Unix time of the last complete sweep over all ChatClusters."
)


def forget(namespace: str, name: str) -> None:
    """Drop the series of a ChatCluster that is gone."""
    for metric in (DESIRED_REPLICAS, CONNECTIONS, READY):
        metric.remove_by_labels({"namespace": namespace, "name": name})
