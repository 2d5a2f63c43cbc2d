"""Collects the metrics for a scrape: from PostgreSQL by one script that all scrapers share, and from the volume."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any

from postgresagent import archiving, metrics, monitor, roles, volume
from postgresagent.logs import log
from postgresagent.server import ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from postgresagent.server import Server

SHARED_SECONDS = 14.0
"""Age up to which scrapes share the answer of the statement: less than the usual interval of 15 s, so that a single
Prometheus never sees the same one twice."""


class Exporter:
    """The metrics of one server and its volume.

    Args:
        secret: Folder of the mounted Secret, which names the chat's database.
        data: PGDATA.
        server: PostgreSQL's programs.
        sockets: Folder of the server's socket.
    """

    def __init__(self, secret: Path, data: Path, server: Server, sockets: Path) -> None:
        self._sockets = sockets
        self._secret = secret
        self._data = data
        self._server = server
        self._lock = Lock()
        self._statistics: Mapping[str, Any] = {}
        self._read_at: float | None = None
        self._failed: str | None = None

    def page(self, now: float, *, refusing_writes: bool | None) -> bytes:
        """Return the page. It has the volume's metrics also while PostgreSQL does not answer.

        Args:
            now: Seconds of a monotonic clock.
            refusing_writes: Whether the volume counts as full; None while it is not known.
        """
        refusing = None if refusing_writes is None else int(refusing_writes)
        own = {"chatpostgres_refusing_writes": refusing, **self._volume(), **self._archive()}
        return metrics.page({**self._shared(now), **own})

    def _shared(self, now: float) -> Mapping[str, Any]:
        # Who comes meanwhile waits for the same answer. `now` of one who waited may be before it.
        with self._lock:
            if self._read_at is None or now - self._read_at >= SHARED_SECONDS:
                self._statistics = self._read()
                self._read_at = now
            return self._statistics

    def _read(self) -> Mapping[str, Any]:
        try:
            database = roles.desired(self._secret).database
            answer = self._server.read(monitor.SCRIPT, role=monitor.ROLE, database=database)
        except (ServerError, roles.SecretIncomplete, OSError) as error:
            if self._failed != str(error):
                log("warning", "no statistics for metrics", error=str(error))
            self._failed = str(error)
            return {"chatpostgres_up": 0}
        self._failed = None
        return {"chatpostgres_up": 1, **answer}

    def _archive(self) -> dict[str, float]:
        try:
            found = archiving.look(self._data, self._sockets, time.time())
        except OSError:
            return {}
        if found is None:
            return {}
        return {
            "chatpostgres_archive_failing": int(found.failing),
            "chatpostgres_archive_lag_seconds": found.lag_seconds,
            "chatpostgres_archive_waiting_files": found.waiting,
        }

    def _volume(self) -> dict[str, int]:
        try:
            space = volume.look(self._data)
        except OSError:
            return {}
        return {
            "chatpostgres_volume_size_bytes": space.size,
            "chatpostgres_volume_free_bytes": space.free,
            "chatpostgres_volume_reserve_bytes": volume.reserve(space),
        }
