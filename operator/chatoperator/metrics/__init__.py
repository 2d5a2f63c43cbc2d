"""The metrics of the operator, for Prometheus."""

from __future__ import annotations

import socket

from prometheus_client import Counter, Gauge, Histogram, start_http_server

RECONCILES = Counter("chatcluster_reconcile_total", "Reconciles, by result: ok or error.", ["result"])
RECONCILE_SECONDS = Histogram(
    "chatcluster_reconcile_seconds", "Duration of reconciles.", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
)
REQUESTS = Counter(
    "chatcluster_kube_requests_total", "Requests to the API server, by method and status.", ["method", "status"]
)
RELISTS = Counter(
    "chatcluster_cache_lists_total",
    "Full lists that the cache requested, by kind; more than one per start and kind means interrupted watches.",
    ["kind"],
)
CACHED = Gauge("chatcluster_cache_objects", "Objects in the cache of the operator.")
CACHED_BYTES = Gauge("chatcluster_cache_bytes", "Memory that the cached objects use, in bytes.")
WITHOUT_ROOM = Gauge(
    "chatcluster_cache_without_room_objects",
    "Objects of a namespace that the operator does not cache, because its memory is full; absent if all fit.",
    ["namespace"],
)
UNREADABLE_ANSWERS = Counter(
    "chatcluster_unreadable_answers_total",
    "Invalid answers of chatservers, ingresses and database agents, by part.",
    ["part"],
)
LOOP_FAILURES = Counter(
    "chatcluster_loop_failures_total",
    "Unexpected errors in the loops of the operator, by loop; the operator restarts the loop.",
    ["loop"],
)
QUEUED = Gauge("chatcluster_queued", "ChatClusters that wait for a reconcile.")
OLDEST_DUE = Gauge(
    "chatcluster_oldest_due_seconds", "Longest time that a ChatCluster had waited for its reconcile, at the last sweep."
)
APPLIES = Counter("chatcluster_apply_total", "Objects that the operator applied, by kind.", ["kind"])
DESIRED_REPLICAS = Gauge("chatcluster_desired_replicas", "Desired number of chatservers.", ["namespace", "name"])
CONNECTIONS = Gauge(
    "chatcluster_connections", "Open WebSocket connections of all chatservers together.", ["namespace", "name"]
)
READY = Gauge("chatcluster_ready", "1 if the condition Ready is True, else 0.", ["namespace", "name"])
LEADING = Gauge("chatcluster_leading", "1 if this operator process holds the Lease, else 0.")
LAST_SWEEP = Gauge(
    "chatcluster_last_sweep_timestamp_seconds", "Unix time of the last complete sweep over all ChatClusters."
)


def serve(port: int) -> None:
    """Serve `/metrics` on its own port, from a thread of its own; on IPv6 too where the kernel has it."""
    start_http_server(port, addr="::" if socket.has_dualstack_ipv6() else "0.0.0.0")  # noqa: S104 - the pod's own


def forget(namespace: str, name: str) -> None:
    """Drop the series of a ChatCluster that is gone."""
    for gauge in (DESIRED_REPLICAS, CONNECTIONS, READY):
        gauge.remove_by_labels({"namespace": namespace, "name": name})
