"""SQL of presence: which users are connected to which server, written only by the server that has the connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.relations import RELATED, RELATION_COLUMNS, relation_from
from chatserver.storage.times import micros_or_none
from chatserver.visibility import Relation  # noqa: TC001 - msgspec reads the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chatserver.storage.database import Database
    from chatserver.storage.relations import Pair


class Stand(msgspec.Struct, frozen=True):
    """Where a user stands: connected to some server or not, and when last seen (microseconds since 1970)."""

    online: bool
    last_seen_us: int | None


class Watched(msgspec.Struct, frozen=True):
    """Where a user stands whom a viewer watches, and what the viewer is to them."""

    stand: Stand
    relation: Relation


async def turn(database: Database, server_name: str, *, came: Sequence[int], went: Sequence[int]) -> None:
    """Write who has come to a server and who has left it, and tell all servers who turns online or offline by that.

    Users who are connected to another server too do not turn. Who turns offline has been seen now.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    await database.execute(
        "SELECT turn_presence($1, $2, $3, $4)", database.server_name, server_name, list(came), list(went)
    )


async def users_at(database: Database, server_name: str, limit: int | None = None) -> list[int]:
    """Return users who are written as connected to a server; at most ``limit`` of them."""
    records = await database.fetch("SELECT user_id FROM presence WHERE server_name = $1 LIMIT $2", server_name, limit)
    return [record[0] for record in records]


async def stands(database: Database, user_ids: Sequence[int]) -> dict[int, Stand]:
    """Return {user_id: where they stand} of the accounts that exist."""
    records = await database.fetch(
        "SELECT u.user_id, EXISTS (SELECT FROM presence p WHERE p.user_id = u.user_id), "
        "last_seen_of(u.user_id, u.last_seen) "
        "FROM users u WHERE u.user_id = ANY ($1::bigint[]) AND u.deleted_at IS NULL",
        list(user_ids),
    )
    return {record[0]: Stand(record[1], micros_or_none(record[2])) for record in records}


async def watched(database: Database, pairs: Collection[Pair]) -> dict[Pair, Watched]:
    """Return {(viewer, user): where the user stands, and what the viewer is to them} of the accounts that exist."""
    records = await database.fetch(
        f"WITH {RELATED} SELECT related.viewer_id, related.user_id, "
        "EXISTS (SELECT FROM presence p WHERE p.user_id = u.user_id), last_seen_of(u.user_id, u.last_seen), "
        f"{RELATION_COLUMNS} FROM related JOIN users u USING (user_id) WHERE u.deleted_at IS NULL",
        [viewer_id for viewer_id, _ in pairs],
        [user_id for _, user_id in pairs],
    )
    return {
        (record[0], record[1]): Watched(Stand(record[2], micros_or_none(record[3])), relation_from(record))
        for record in records
    }


# One probe of the primary key for each server, not a look at each of its users.
_SERVERS_GONE = """
WITH RECURSIVE named AS (
    (SELECT server_name FROM presence ORDER BY server_name LIMIT 1)
    UNION ALL
    SELECT (SELECT p.server_name FROM presence p WHERE p.server_name > n.server_name ORDER BY p.server_name LIMIT 1)
    FROM named n WHERE n.server_name IS NOT NULL
)
SELECT n.server_name FROM named n
WHERE n.server_name IS NOT NULL AND NOT EXISTS (SELECT FROM servers s WHERE s.server_name = n.server_name)
"""


async def servers_gone(database: Database) -> list[str]:
    """Return the servers that have users here and no heartbeat."""
    return [record[0] for record in await database.fetch(_SERVERS_GONE)]
