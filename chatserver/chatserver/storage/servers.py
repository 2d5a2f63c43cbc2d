"""SQL of heartbeats: which servers are live, and how many connections each has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.storage.database import Database

# One clock, the database's, says what is old. After an outage all rows are, and all servers are back at once: each
# writes its own first, and leaves alone what another is writing, so that none waits while somebody waits for it.
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
    """Say how many connections this server has, and return those of each other live server that does not drain.

    Args:
        database: where all servers say so.
        server_name: of this server.
        connections: on this server.
        draining: whether it leaves.
        gone_seconds: servers that said nothing for so long are forgotten.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    rows = await database.fetch(_BEAT, server_name, connections, draining, gone_seconds)
    return [row[0] for row in rows]
