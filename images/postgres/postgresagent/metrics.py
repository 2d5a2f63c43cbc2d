"""The metrics of PostgreSQL, and the page on which they are; the only importer of prometheus_client. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric as Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """One metric: its name on the page, its type, a sentence about it, and the names of its labels."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("chatpostgres_up", "gauge", "Whether PostgreSQL answers the agent beside it: 1 or 0."),
    Metric("chatpostgres_start_time_seconds", "gauge", "Unix time at which PostgreSQL started."),
    Metric(
        "chatpostgres_backends",
        "gauge",
        "Client connections by state and role, without the agent's own; roles that are not the chat's count as other.",
        ("state", "role"),
    ),
    Metric("chatpostgres_max_connections", "gauge", "Client connections that PostgreSQL accepts at once."),
    Metric("chatpostgres_longest_transaction_seconds", "gauge", "Age of the oldest open transaction of a client."),
    Metric("chatpostgres_lock_waits", "gauge", "Client connections that have waited for a lock for over a second."),
    Metric("chatpostgres_deadlocks_total", "counter", "Deadlocks that PostgreSQL resolved by cancelling a statement."),
    Metric("chatpostgres_commits_total", "counter", "Transactions committed in the chat's database."),
    Metric("chatpostgres_rollbacks_total", "counter", "Transactions rolled back in the chat's database."),
    Metric("chatpostgres_blocks_hit_total", "counter", "Blocks that were found in PostgreSQL's own cache."),
    Metric("chatpostgres_blocks_read_total", "counter", "Blocks that were read from the disk or the kernel's cache."),
    Metric("chatpostgres_temp_bytes_total", "counter", "Bytes written to temporary files by sorts and hashes."),
    Metric("chatpostgres_database_bytes", "gauge", "Size of the chat's database."),
    Metric(
        "chatpostgres_xid_age",
        "gauge",
        "Transactions since the oldest one that is not frozen; PostgreSQL refuses writes before 2 billion.",
    ),
    Metric(
        "chatpostgres_mxid_age",
        "gauge",
        "Multixacts since the oldest one that is not frozen; PostgreSQL refuses writes before 2 billion.",
    ),
    Metric("chatpostgres_wal_bytes_total", "counter", "Bytes of WAL written."),
    Metric("chatpostgres_wal_full_page_images_total", "counter", "Pages that were written to WAL whole."),
    Metric("chatpostgres_wal_directory_bytes", "gauge", "Size of all WAL files on the volume."),
    Metric(
        "chatpostgres_checkpoints_total",
        "counter",
        "Checkpoints by kind: timed, or requested because WAL reached its size or by an administrator.",
        ("kind",),
    ),
    Metric("chatpostgres_checkpoint_write_seconds_total", "counter", "Time in which checkpoints wrote files."),
    Metric(
        "chatpostgres_notification_queue_ratio",
        "gauge",
        "Part of the NOTIFY queue in use; at 1 servers cannot notify each other.",
    ),
    Metric("chatpostgres_table_live_rows", "gauge", "Live rows of a table, as PostgreSQL estimates.", ("table",)),
    Metric("chatpostgres_table_dead_rows", "gauge", "Dead rows that a vacuum has yet to remove.", ("table",)),
    Metric("chatpostgres_table_bytes", "gauge", "Size of a table with its indexes and TOAST.", ("table",)),
    Metric(
        "chatpostgres_table_last_vacuum_timestamp_seconds",
        "gauge",
        "Unix time of a table's last vacuum; absent until the first.",
        ("table",),
    ),
    Metric("chatpostgres_volume_size_bytes", "gauge", "Size of the volume's file system."),
    Metric("chatpostgres_volume_free_bytes", "gauge", "Free bytes on the volume."),
    Metric("chatpostgres_volume_reserve_bytes", "gauge", "Free bytes below which PostgreSQL is made to refuse writes."),
    Metric("chatpostgres_refusing_writes", "gauge", "Whether writes are refused because the volume is full: 1 or 0."),
    Metric("chatpostgres_archive_failing", "gauge", "Whether the last try to archive a WAL file failed: 1 or 0."),
    Metric("chatpostgres_archive_waiting_files", "gauge", "WAL files that wait to be archived, 16 MiB each."),
    Metric(
        "chatpostgres_archive_lag_seconds",
        "gauge",
        "Age of the oldest complete WAL file that waits to be archived; 0 if none does.",
    ),
    Metric("chatpostgres_in_recovery", "gauge", "Whether this instance is a replica, which takes no writes: 1 or 0."),
    Metric("chatpostgres_timeline", "gauge", "Timeline of the last checkpoint: it rises by 1 with each promotion."),
    Metric(
        "chatpostgres_replica_lag_bytes",
        "gauge",
        "Bytes of WAL that a connected replica has not stored yet; on the leader only.",
        ("replica",),
    ),
    Metric(
        "chatpostgres_replica_synchronous",
        "gauge",
        "Whether commits may be acknowledged once a connected replica has them: 1 or 0; on the leader only.",
        ("replica",),
    ),
    Metric("chatpostgres_commits_waiting", "gauge", "Commits that wait for a synchronous replica now."),
    Metric(
        "chatpostgres_replay_lag_seconds",
        "gauge",
        "Age of what a replica has replayed last, while it has received more; absent on the leader.",
    ),
    Metric(
        "chatpostgres_checksum_failures_total",
        "counter",
        "Data pages whose checksum was wrong; absent without checksums.",
    ),
)
"""All of them. docs/reference/metrics.md is made from this list."""


def page(values: Mapping[str, Any], metrics: Iterable[Metric] = METRICS) -> bytes:
    """Return the page in Prometheus' text format.

    Args:
        values: By metric, a number, or a list of [label, ..., number] if it has labels; what is missing or None is not
            on the page.
        metrics: Those that the page may have.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(values, metrics))
    return generate_latest(registry)


class _Collector:
    def __init__(self, values: Mapping[str, Any], metrics: Iterable[Metric]) -> None:
        self._values = values
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        for metric in self._metrics:
            found = self._values.get(metric.name)
            rows: list[list[Any]] = found if isinstance(found, list) else [[found]]
            family = _family(metric)
            for *labels, value in rows:
                if value is not None:
                    family.add_metric(labels, value)
            if family.samples:
                yield family


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)
