"""The database as this server sees it, and the writes that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from chatserver.metrics.buckets import BATCH_ROWS, LATENCY_SECONDS, REQUEST_SECONDS, STALL_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families

CALLS: Final = ("store", "sync", "deliver", "receipts", "other")
"""What database calls are for."""


class TimedCall(Protocol):
    """The times of a database call (``storage.calls.CallTimes``)."""

    @property
    def kind(self) -> str:
        """One of CALLS."""

    @property
    def acquire_seconds(self) -> float:
        """The wait for a connection."""

    @property
    def seconds(self) -> float:
        """In all."""

    @property
    def succeeded(self) -> bool:
        """Whether it was carried out."""


class DatabaseMetrics:
    """Database and write queue.

    Attributes:
        up: by this server's own check, every few seconds.
        call_seconds: by call and result, including the wait for a connection.
        acquire_seconds: the wait for a connection alone.
        batch_rows, batch_seconds: of each write.
        wait_seconds: of the message of a write that waited longest for it.
        login: 1 for the role that new connections use.
    """

    def __init__(self, families: Families) -> None:
        self.up = families.gauge(
            "chatserver_database_up",
            "1 while the database answers and accepts writes, by the server's own check every few seconds",
        )
        self.volume_full = families.gauge("chatserver_database_volume_full", "1 while the database's volume is full")
        self.login = families.gauges(
            "chatserver_database_login",
            "1 for the database role with which the server opens new connections",
            ["role"],
        )
        self.pool_size = families.gauge("chatserver_database_pool_connections", "Open connections to the database")
        self.pool_idle = families.gauge("chatserver_database_pool_idle", "Idle connections to the database")
        self.call_seconds = families.histograms(
            "chatserver_database_call_seconds",
            "Duration of database calls, including the wait for a connection, by result and by what they are for: store"
            " (messages), sync, deliver (reading rows of other servers), receipts, other",
            ["call", "result"],
            REQUEST_SECONDS,
            [(call, result) for call in CALLS for result in ("ok", "failed")],
        )
        self.acquire_seconds = families.histogram(
            "chatserver_database_acquire_seconds",
            "Time that database calls waited for a free connection of the pool, or for a new one",
            STALL_SECONDS,
        )
        self.batch_rows = families.histogram(
            "chatserver_write_batch_rows", "Messages of each write to the database", BATCH_ROWS
        )
        self.batch_seconds = families.histogram(
            "chatserver_write_batch_seconds",
            "Duration of each write of messages, including the wait for a connection and for locks, and the commit",
            LATENCY_SECONDS,
        )
        self.wait_seconds = families.histogram(
            "chatserver_write_wait_seconds",
            "Time that the oldest message of each write waited in the queue before the write began",
            LATENCY_SECONDS,
        )
        self.write_queue = families.gauge("chatserver_write_queue_depth", "Messages that wait for a commit")
        self._role: str | None = None

    def show_login(self, role: str) -> None:
        """Publish the role in the DSN: after a rotation of the password the operator waits for the new one."""
        if role != self._role:
            self.login.clear()
            self.login.labels(role).set(1)
            self._role = role

    def observe_call(self, call: TimedCall) -> None:
        """Record the times of one database call."""
        self.acquire_seconds.observe(call.acquire_seconds)
        self.call_seconds.labels(call.kind, "ok" if call.succeeded else "failed").observe(call.seconds)
