"""SQL of heartbeats: which servers are live, and how many connections each has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.storage.database import Database

# Only the database's clock decides what is old. After an outage all rows are old and all servers return at once: each
# writes its own row first and skips rows that another server is writing, so that they never deadlock.
_BEAT = """
WITH own AS (
    INSERT INTO servers (server_name, connections, draining) VALUES ($1, $2, $3)
    ON CONFLICT (server_name) DO UPDATE
    SET connections = excluded.connections, draining = excluded.draining, seen_at = excluded.seen_at
    RETURNING server_name
), gone AS (
    DELETE FROM servers WHERE server_name IN (
        SELECT s.server_name FROM own JOIN servers s ON s.server_name <> own.server_name
        WHERE s.seen_at < now() - make_interval(secs => $4) FOR UPDATE OF s SKIP LOCKED)
)
SELECT connections FROM servers
WHERE server_name <> $1 AND NOT draining AND seen_at >= now() - make_interval(secs => $4)
"""


async def beat(
    database: Database, server_name: str, *, connections: int, draining: bool, gone_seconds: float
) -> list[int]:
    """Record the connections of this server, and return those of each other live server that is not draining.

    Args:
        database: where all servers record theirs.
        server_name: name of this server.
        connections: open WebSockets of this server.
        draining: whether it is draining.
        gone_seconds: servers without a heartbeat for so long are deleted.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    rows = await database.fetch(_BEAT, server_name, connections, draining, gone_seconds)
    return [row[0] for row in rows]
