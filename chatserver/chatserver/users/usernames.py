"""Claims of usernames: well formed, not taken, and unlike all others in appearance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chatserver.errors import UsernameTaken, ValidationFailed
from chatserver.storage import usernames
from chatserver.storage.usernames import Username
from chatserver.users import names
from chatserver.users.lookalikes import look

if TYPE_CHECKING:
    from chatserver.storage.database import Connection, Database

BATCH: Final = 500
"""Usernames compared by one statement after an upgrade: some 20 ms of CPU."""

BATCHES: Final = 20
"""Batches per round: 10,000 usernames a minute per server."""


async def claim(
    connection: Connection, text: str, path: str, *, user_id: int | None = None, phone_number: str | None = None
) -> Username | None:
    """Return the username to store for an account, which is named by its id or its number.

    None: the account is called so already, by whatever rules it was once taken; nothing is to be stored.

    Raises:
        ValidationFailed: it is none. UsernameTaken: another account's username looks the same.
    """
    current = await usernames.current_key(connection, user_id=user_id, phone_number=phone_number)
    try:
        name = names.check_username(text, path)
    except ValidationFailed:
        if current is not None and names.username_key(text) == current:
            return None
        raise
    username = Username(name, names.username_key(name), look(name))
    if username.key != current and await usernames.is_look_taken(
        connection, username.skeleton, user_id=user_id, phone_number=phone_number
    ):
        raise UsernameTaken.of(path, "is taken, or looks like one that is")
    return username


async def compare_older(database: Database) -> int:
    """Store skeletons of usernames that an earlier release stored without, a bounded number; returns how many.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    done = 0
    for _ in range(BATCHES):
        found = await usernames.without_skeleton(database, BATCH)
        if found:
            await usernames.store_skeletons(database, {user: (name, look(name)) for user, name in found.items()})
        done += len(found)
        if len(found) < BATCH:
            break
    return done
