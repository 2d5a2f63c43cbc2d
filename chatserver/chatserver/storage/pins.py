"""SQL of the PINs that users require for sign-ins beside the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage.calls import affected

if TYPE_CHECKING:
    from chatserver.storage.database import Connection, Database


class StoredPin(msgspec.Struct, frozen=True):
    """A user's PIN, and the tries of it.

    Attributes:
        wrong: tries since the last right one.
        wait_seconds: until the next try; 0 or less: none.
    """

    salt: bytes
    pin_hash: bytes
    wrong: int = 0
    wait_seconds: float = 0.0


class PinnedAccount(msgspec.Struct, frozen=True):
    """The account of a number, which has a PIN.

    Attributes:
        idle_seconds: since one of its devices was used.
    """

    user_id: int
    idle_seconds: float


async def account_with_pin(database: Database, phone_number: str) -> PinnedAccount | None:
    """Return the account of a number if it has a PIN."""
    record = await database.fetchrow(
        "SELECT u.user_id, extract(epoch FROM now() - coalesce(max(d.last_used), u.created_at))::float8 FROM users u "
        "JOIN pins p USING (user_id) LEFT JOIN devices d USING (user_id) WHERE u.phone_number = $1 "
        "GROUP BY u.user_id",
        phone_number,
    )
    return None if record is None else PinnedAccount(*record)


async def lock_pin(connection: Connection, user_id: int) -> StoredPin | None:
    """Return a user's PIN, and lock it; None: there is none."""
    record = await connection.fetchrow(
        "SELECT salt, pin_hash, wrong, coalesce(extract(epoch FROM retry_at - clock_timestamp()), 0)::float8 FROM pins "
        "WHERE user_id = $1 FOR UPDATE",
        user_id,
    )
    return None if record is None else StoredPin(*record)


async def pin_hash_of(connection: Connection, user_id: int) -> bytes | None:
    """Return the hash of a user's PIN as a transaction sees it."""
    pin_hash: bytes | None = await connection.fetchval("SELECT pin_hash FROM pins WHERE user_id = $1", user_id)
    return pin_hash


async def count_try(connection: Connection, user_id: int, wait_seconds: float) -> None:
    """Count a try as wrong, and allow no other for so long."""
    await connection.execute(
        "UPDATE pins SET wrong = wrong + 1, retry_at = now() + make_interval(secs => $2) WHERE user_id = $1",
        user_id,
        wait_seconds,
    )


async def forget_tries(database: Database, user_id: int, pin_hash: bytes) -> None:
    """Forget the wrong tries of a PIN, which was right now."""
    await database.execute(
        "UPDATE pins SET wrong = 0, retry_at = NULL WHERE user_id = $1 AND pin_hash = $2", user_id, pin_hash
    )


async def store_pin(connection: Connection, user_id: int, pin: StoredPin, *, instead_of: bytes | None) -> bool:
    """Store a PIN in the place of the one with this hash, or where there is none; returns whether it was so."""
    if instead_of is None:
        tag = await connection.execute(
            "INSERT INTO pins (user_id, salt, pin_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            user_id,
            pin.salt,
            pin.pin_hash,
        )
    else:
        tag = await connection.execute(
            "UPDATE pins SET salt = $2, pin_hash = $3, wrong = 0, retry_at = NULL WHERE user_id = $1 AND pin_hash = $4",
            user_id,
            pin.salt,
            pin.pin_hash,
            instead_of,
        )
    return affected(tag) > 0


async def remove_pin(connection: Connection, user_id: int) -> bool:
    """Remove a user's PIN; returns whether there was one."""
    return affected(await connection.execute("DELETE FROM pins WHERE user_id = $1", user_id)) > 0
