"""SQL of usernames that look alike; all but the sweep are steps of the transaction that sets a username."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatserver.storage.database import Connection, Database


class Username(msgspec.Struct, frozen=True):
    """A username to store.

    Attributes:
        name: as it is shown.
        key: the same for names that differ only in case or width; unique.
        skeleton: the same for names that look alike.
    """

    name: str
    key: str
    skeleton: str


async def current_key(connection: Connection, *, user_id: int | None, phone_number: str | None) -> str | None:
    """Return the key of an account's username, by id or by number; None: there is no account, or it has none."""
    key: str | None = await connection.fetchval(
        "SELECT username_key FROM users WHERE user_id = $1 OR phone_number = $2", user_id, phone_number
    )
    return key


async def is_look_taken(
    connection: Connection, skeleton: str, *, user_id: int | None, phone_number: str | None
) -> bool:
    """Return whether another account's username looks the same; locks the skeleton until the transaction ends."""
    # A lock, not a unique index: names from before the comparison existed may look alike.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 49))", skeleton)
    taken: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM users WHERE username_skeleton = $1 "
        "AND user_id IS DISTINCT FROM $2::bigint AND phone_number IS DISTINCT FROM $3::text)",
        skeleton,
        user_id,
        phone_number,
    )
    return taken


async def without_skeleton(database: Database, limit: int) -> dict[int, str]:
    """Return {user_id: username} of usernames without a skeleton: those that earlier releases stored."""
    records = await database.fetch(
        "SELECT user_id, username FROM users WHERE username IS NOT NULL AND username_skeleton IS NULL "
        "ORDER BY user_id LIMIT $1",
        limit,
    )
    return {record[0]: record[1] for record in records}


async def store_skeletons(database: Database, usernames: Mapping[int, tuple[str, str]]) -> None:
    """Store skeletons, as {user_id: (username, skeleton)}, of accounts that still have this username."""
    # Locked in order, skipping rows that another server is updating: it stores the same.
    await database.execute(
        "WITH found AS MATERIALIZED (SELECT user_id FROM users WHERE user_id = ANY ($1::bigint[]) "
        "ORDER BY user_id FOR NO KEY UPDATE SKIP LOCKED) "
        "UPDATE users u SET username_skeleton = n.skeleton "
        "FROM unnest($1::bigint[], $2::text[], $3::text[]) AS n (user_id, username, skeleton) "
        "JOIN found USING (user_id) "
        "WHERE u.user_id = n.user_id AND u.username = n.username",
        list(usernames),
        [name for name, _ in usernames.values()],
        [skeleton for _, skeleton in usernames.values()],
    )
