"""SQL of presence: which users are connected to which server; each server writes only its own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.hints import Hint
from chatserver.storage.relations import RELATED, RELATION_COLUMNS, relation_from
from chatserver.storage.times import micros_or_none
from chatserver.visibility import Relation  # noqa: TC001 - msgspec reads the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chatserver.storage.database import Database
    from chatserver.storage.relations import Pair


class PresenceState(msgspec.Struct, frozen=True):
    """Whether a user is connected to a server, and when they were last seen (microseconds since 1970)."""

    online: bool
    last_seen_us: int | None


class Watched(msgspec.Struct, frozen=True):
    """The presence of a user whom a viewer watches, and the viewer's relation to them."""

    state: PresenceState
    relation: Relation


async def turn(database: Database, server_name: str, *, came: Sequence[int], went: Sequence[int]) -> None:
    """Record who connected to a server and who disconnected, and have published who goes online or offline.

    The presence of users who are connected to another server too does not change. `last_seen` of users who go offline
    becomes now.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    with database.hints.leaving(len(came) + len(went)) as leaving:
        record = await database.fetchrow(
            "SELECT * FROM turn_presence($1, $2, $3, $4, $5, $6, $7)",
            database.server_name,
            *leaving.place,
            server_name,
            list(came),
            list(went),
        )
        if record is not None and record[0] is not None:
            leaving.hint = Hint(database.server_name, presence=tuple(zip(*record, strict=True)))


async def users_at(database: Database, server_name: str, limit: int | None = None) -> list[int]:
    """Return users who are recorded as connected to a server; at most ``limit`` of them."""
    records = await database.fetch("SELECT user_id FROM presence WHERE server_name = $1 LIMIT $2", server_name, limit)
    return [record[0] for record in records]


async def states(database: Database, user_ids: Sequence[int]) -> dict[int, PresenceState]:
    """Return {user_id: their presence} of the accounts that exist."""
    records = await database.fetch(
        "SELECT u.user_id, EXISTS (SELECT FROM presence p WHERE p.user_id = u.user_id), "
        "last_seen_of(u.user_id, u.last_seen) "
        "FROM users u WHERE u.user_id = ANY ($1::bigint[]) AND u.deleted_at IS NULL",
        list(user_ids),
    )
    return {record[0]: PresenceState(record[1], micros_or_none(record[2])) for record in records}


async def watched(database: Database, pairs: Collection[Pair]) -> dict[Pair, Watched]:
    """Return {(viewer, user): the user's presence, and the viewer's relation to them} of the accounts that exist."""
    records = await database.fetch(
        f"WITH {RELATED} SELECT related.viewer_id, related.user_id, "
        "EXISTS (SELECT FROM presence p WHERE p.user_id = u.user_id), last_seen_of(u.user_id, u.last_seen), "
        f"{RELATION_COLUMNS} FROM related JOIN users u USING (user_id) WHERE u.deleted_at IS NULL",
        [viewer_id for viewer_id, _ in pairs],
        [user_id for _, user_id in pairs],
    )
    return {
        (record[0], record[1]): Watched(PresenceState(record[2], micros_or_none(record[3])), relation_from(record))
        for record in records
    }


# One look-up in the primary key for each server, not one for each of its users.
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
    """Return the servers that have recorded users but no heartbeat."""
    return [record[0] for record in await database.fetch(_SERVERS_GONE)]
