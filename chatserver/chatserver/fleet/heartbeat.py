"""The heartbeat of a server: it records its connections and its bus for the others, and reads theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.storage import servers

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.storage.database import Database
    from chatserver.storage.servers import Others

# A server without a heartbeat for so many periods is gone; one whose own fail for so long knows nothing of others.
BEATS_UNTIL_GONE = 3


class Heartbeat:
    """What this server and the others record.

    Args:
        database: where all servers record theirs.
        period_seconds: between two heartbeats.
        bus: by which this server sends hints (``BusSettings.name``).
        on_others: called at each heartbeat with what the other live servers recorded.

    Attributes:
        period_seconds: between two heartbeats.
        gone_seconds: a server without a heartbeat for so long is gone.
    """

    def __init__(
        self, database: Database, *, period_seconds: float, bus: str, on_others: Callable[[Others], None]
    ) -> None:
        self.period_seconds = period_seconds
        self.gone_seconds = BEATS_UNTIL_GONE * period_seconds
        self._database = database
        self._bus = bus
        self._on_others = on_others

    async def beat(self, *, connections: int, draining: bool) -> list[int]:
        """Record the connections of this server; returns those of each other server that is not draining.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        others = await servers.beat(
            self._database,
            self._database.server_name,
            connections=connections,
            draining=draining,
            gone_seconds=self.gone_seconds,
            bus=self._bus,
        )
        self._on_others(others)
        return others.connections
