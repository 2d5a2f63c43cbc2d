"""What the operator tells Prometheus."""

from __future__ import annotations

import socket

from prometheus_client import Counter, Gauge, Histogram, start_http_server

RECONCILES = Counter("chatcluster_reconcile_total", "Reconciles by how they ended.", ["result"])
RECONCILE_SECONDS = Histogram(
    "chatcluster_reconcile_seconds", "Time a reconcile took.", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
)
REQUESTS = Counter("chatcluster_kube_requests_total", "Requests to the API server.", ["method", "status"])
RELISTS = Counter("chatcluster_cache_lists_total", "Lists that the cache had to make.", ["kind"])
CACHED = Gauge("chatcluster_cache_objects", "Objects in the cache.")
CACHED_BYTES = Gauge("chatcluster_cache_bytes", "Memory that the objects in the cache take.")
WITHOUT_ROOM = Gauge(
    "chatcluster_cache_without_room_objects",
    "Objects of a namespace that the operator's memory has no room for; absent where there is room.",
    ["namespace"],
)
UNREADABLE_ANSWERS = Counter(
    "chatcluster_unreadable_answers_total", "Answers of chats' own parts that could not be read.", ["part"]
)
LOOP_FAILURES = Counter(
    "chatcluster_loop_failures_total", "Unexpected errors in the operator's loops; each goes on.", ["loop"]
)
QUEUED = Gauge("chatcluster_queued", "ChatClusters that wait to be reconciled.")
OLDEST_DUE = Gauge(
    "chatcluster_oldest_due_seconds", "For how long the ChatCluster that waits longest was due at the last sweep."
)
APPLIES = Counter("chatcluster_apply_total", "Objects applied, by kind.", ["kind"])
DESIRED_REPLICAS = Gauge("chatcluster_desired_replicas", "Chatservers wanted.", ["namespace", "name"])
CONNECTIONS = Gauge("chatcluster_connections", "Open WebSockets over all chatservers.", ["namespace", "name"])
READY = Gauge("chatcluster_ready", "1 where the condition Ready is True.", ["namespace", "name"])
LEADING = Gauge("chatcluster_leading", "1 in the operator process that holds the Lease.")
LAST_SWEEP = Gauge("chatcluster_last_sweep_timestamp_seconds", "Unix time of the last complete sweep.")


def serve(port: int) -> None:
    """Serve `/metrics` on its own port, from a thread of its own; on IPv6 too where the kernel has it."""
    start_http_server(port, addr="::" if socket.has_dualstack_ipv6() else "0.0.0.0")  # noqa: S104 - the pod's own


def forget(namespace: str, name: str) -> None:
    """Drop the series of a ChatCluster that is gone."""
    for gauge in (DESIRED_REPLICAS, CONNECTIONS, READY):
        gauge.remove_by_labels({"namespace": namespace, "name": name})
