"""The database as this server sees it, and the writes that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.metrics.buckets import REQUEST_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families


class DatabaseMetrics:
    """Database and write queue.

    Attributes:
        up: by this server's own check, every few seconds.
        call_seconds: by result, including the wait for a connection.
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
            "Duration of database calls by result, including the wait for a connection",
            ["result"],
            REQUEST_SECONDS,
        )
        self.write_queue = families.gauge("chatserver_write_queue_depth", "Messages that wait for a commit")
        self._role: str | None = None

    def show_login(self, role: str) -> None:
        """Publish the role in the DSN: after a rotation of the password the operator waits for the new one."""
        if role != self._role:
            self.login.clear()
            self.login.labels(role).set(1)
            self._role = role

    def observe_call(self, seconds: float, succeeded: bool) -> None:  # noqa: FBT001 - the pool's callback
        """Record the duration of one database call."""
        self.call_seconds.labels("ok" if succeeded else "failed").observe(seconds)
