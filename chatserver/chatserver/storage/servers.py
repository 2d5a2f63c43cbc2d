"""SQL of heartbeats: which servers are live, how many connections each has, and by which bus it sends hints."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from chatserver.storage.database import Database

# Only the database's clock decides what is old. After an outage all rows are old and all servers return at once: each
# writes its own row first and skips rows that another server is writing, so that they never deadlock.
_BEAT = """
WITH own AS (
    INSERT INTO servers (server_name, connections, draining, bus) VALUES ($1, $2, $3, $5)
    ON CONFLICT (server_name) DO UPDATE
    SET connections = excluded.connections, draining = excluded.draining, bus = excluded.bus, seen_at = excluded.seen_at
    RETURNING server_name
), gone AS (
    DELETE FROM servers WHERE server_name IN (
        SELECT s.server_name FROM own JOIN servers s ON s.server_name <> own.server_name
        WHERE s.seen_at < now() - make_interval(secs => $4) FOR UPDATE OF s SKIP LOCKED)
)
SELECT connections, draining, bus FROM servers
WHERE server_name <> $1 AND seen_at >= now() - make_interval(secs => $4)
"""


class Others(NamedTuple):
    """The other live servers.

    Attributes:
        connections: of each that is not draining.
        buses: by which they send hints, as of ``BusSettings.name``; also of those that are draining.
    """

    connections: list[int]
    buses: frozenset[str]


async def beat(
    database: Database, server_name: str, *, connections: int, draining: bool, gone_seconds: float, bus: str
) -> Others:
    """Record the connections of this server, and return what the other live servers recorded.

    Args:
        database: where all servers record theirs.
        server_name: name of this server.
        connections: open WebSockets of this server.
        draining: whether it is draining.
        gone_seconds: servers without a heartbeat for so long are deleted.
        bus: by which it sends hints.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    rows = await database.fetch(_BEAT, server_name, connections, draining, gone_seconds, bus)
    return Others([row[0] for row in rows if not row[1]], frozenset(row[2] for row in rows))
