"""SQL of accounts: users, sign-ins, devices, tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString

import msgspec

from chatserver.errors import NumberTaken, Unauthenticated, UsernameTaken
from chatserver.model import Device, Principal, User
from chatserver.storage.calls import affected
from chatserver.storage.codes import forget_counted, use_code
from chatserver.storage.number_lookups import WAS_FOUND
from chatserver.storage.probe import IS_NO_PROBE
from chatserver.storage.times import micros, micros_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.storage.database import Connection, Database, Record
    from chatserver.storage.outages import StatementFailed
    from chatserver.storage.usernames import Username

_USER_COLUMNS: Final[LiteralString] = (
    "user_id, phone_number, username, profile_picture_url, about, created_at, last_seen_of(user_id, last_seen)"
)


class NewSignIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in stores.

    Attributes:
        sites: the addresses that requested the code and sign in, as counted with the number.
        request_id: of the code.
    """

    phone_number: str
    sites: Sequence[str]
    request_id: int
    token_hash: bytes
    device_name: str | None
    session_days: int


def _user(record: Record | tuple[Any, ...]) -> User:
    user_id, phone_number, username, picture, about, created_at, last_seen = record
    return User(user_id, phone_number, username, picture, about, micros(created_at), micros_or_none(last_seen))


async def user_by_id(database: Database, user_id: int) -> User | None:
    """Return the account with this id."""
    record = await database.fetchrow(
        f"SELECT {_USER_COLUMNS} FROM users WHERE user_id = $1 AND deleted_at IS NULL", user_id
    )
    return None if record is None else _user(record)


async def profile_of(connection: Connection, user_id: int) -> User | None:
    """Return the account with this id as a transaction sees it."""
    record = await connection.fetchrow(
        f"SELECT {_USER_COLUMNS} FROM users WHERE user_id = $1 AND deleted_at IS NULL", user_id
    )
    return None if record is None else _user(record)


async def users_by_id(database: Database, user_ids: Sequence[int]) -> list[User]:
    """Return the accounts with these ids."""
    records = await database.fetch(
        f"SELECT {_USER_COLUMNS} FROM users WHERE user_id = ANY ($1::bigint[]) AND deleted_at IS NULL", list(user_ids)
    )
    return [_user(record) for record in records]


async def user_by_phone(database: Database, phone_number: str) -> User | None:
    """Return the account with this number, in E.164 form."""
    record = await database.fetchrow(f"SELECT {_USER_COLUMNS} FROM users WHERE phone_number = $1", phone_number)
    return None if record is None else _user(record)


async def stored_number(database: Database, spellings: Sequence[str]) -> str | None:
    """Return the first of several spellings of one number that an account has."""
    record = await database.fetchrow(
        "SELECT phone_number FROM users WHERE phone_number = ANY ($1::text[]) "
        "ORDER BY array_position($1::text[], phone_number) LIMIT 1",
        list(spellings),
    )
    return None if record is None else str(record[0])


async def user_by_username_key(database: Database, key: str) -> User | None:
    """Return the account whose username has this key."""
    record = await database.fetchrow(f"SELECT {_USER_COLUMNS} FROM users WHERE username_key = $1", key)
    return None if record is None else _user(record)


async def users_by_username_keys(database: Database, keys: Sequence[str]) -> dict[str, User]:
    """Return {key: the account whose username has this key} of those that exist."""
    records = await database.fetch(
        f"SELECT {_USER_COLUMNS}, username_key FROM users WHERE username_key = ANY ($1::text[])", list(keys)
    )
    return {record[-1]: _user(record[:-1]) for record in records}


async def user_ids(connection: Connection, phones: Sequence[str], username_keys: Sequence[str]) -> dict[str, int]:
    """Return {phone number or username key: user_id} of those that exist."""
    records = await connection.fetch(
        "SELECT phone_number, user_id FROM users WHERE phone_number = ANY ($1::text[]) "
        "UNION ALL SELECT username_key, user_id FROM users WHERE username_key = ANY ($2::text[])",
        list(phones),
        list(username_keys),
    )
    return {record[0]: record[1] for record in records}


_OF_DIRECT_CHAT: Final[LiteralString] = (
    "FROM users u LEFT JOIN direct_chats d ON d.user_lo = least(u.user_id, $1) AND d.user_hi = greatest(u.user_id, $1)"
)


async def direct_chat_by_phone(
    database: Database, user_id: int, phone_number: str
) -> tuple[int, int | None, bool] | None:
    """Return the user with this number, the direct chat with them if there is one, and whether they were found before.

    "Before" is by number, as of `storage.number_lookups`.
    """
    record = await database.fetchrow(
        f"SELECT u.user_id, d.chat_id, {WAS_FOUND} {_OF_DIRECT_CHAT} WHERE u.phone_number = $2 AND {IS_NO_PROBE}",
        user_id,
        phone_number,
    )
    return None if record is None else (record[0], record[1], record[2])


async def direct_chat_by_username(database: Database, user_id: int, key: str) -> tuple[int, int | None] | None:
    """Return the user with this username key and the direct chat with them, if there is one."""
    record = await database.fetchrow(
        f"SELECT u.user_id, d.chat_id {_OF_DIRECT_CHAT} WHERE u.username_key = $2 AND {IS_NO_PROBE}", user_id, key
    )
    return None if record is None else (record[0], record[1])


async def update_profile(
    connection: Connection,
    user_id: int,
    *,
    username: Username | None,
    picture: tuple[str | None] | None,
    about: tuple[str | None] | None,
) -> User | None:
    """Set username, picture and about where given; returns None when there is no such user.

    Raises:
        StatementFailed: at the transaction's end; see `username_taken`.
    """
    record = await connection.fetchrow(
        "UPDATE users SET username = coalesce($2, username), username_key = coalesce($3, username_key), "
        "username_skeleton = coalesce($4, username_skeleton), "
        "profile_picture_url = CASE WHEN $5 THEN $6 ELSE profile_picture_url END, "
        "about = CASE WHEN $7 THEN $8 ELSE about END "
        f"WHERE user_id = $1 AND deleted_at IS NULL RETURNING {_USER_COLUMNS}",
        user_id,
        username.name if username else None,
        username.key if username else None,
        username.skeleton if username else None,
        picture is not None,
        picture[0] if picture else None,
        about is not None,
        about[0] if about else None,
    )
    return None if record is None else _user(record)


async def change_number(connection: Connection, user_id: int, phone_number: str) -> User:
    """Give an account, which exists, another number.

    Raises:
        StatementFailed: see `number_taken`.
    """
    record = await connection.fetchrow(
        f"UPDATE users SET phone_number = $2 WHERE user_id = $1 AND deleted_at IS NULL RETURNING {_USER_COLUMNS}",
        user_id,
        phone_number,
    )
    if record is None:
        raise Unauthenticated
    return _user(record)


def number_taken(error: StatementFailed) -> Exception:
    """Return the error for a failed statement: NumberTaken, or the failure itself if it has another cause."""
    return NumberTaken() if error.constraint == "users_phone_number_key" else error


def username_taken(error: StatementFailed) -> Exception:
    """Return the error for a failed statement: UsernameTaken, or the failure itself if it has another cause."""
    if error.constraint == "users_username_key_key":
        return UsernameTaken.of("username", "is taken")
    return error


async def sign_in(connection: Connection, sign_in: NewSignIn, username: Username | None) -> tuple[User, int] | None:
    """Use up the code, create the account if needed, and add the device: steps of one transaction.

    Args:
        connection: of the transaction.
        sign_in: who signs in.
        username: the account's from now on; None leaves it as it is.

    Returns:
        The user and the device's id; None when the code was used meanwhile, and then nothing must be committed.

    Raises:
        StatementFailed: see `username_taken`; the code remains usable.
    """
    record = await connection.fetchrow(
        "INSERT INTO users AS u (phone_number, username, username_key, username_skeleton, last_seen) "
        "VALUES ($1, $2, $3, $4, now()) "
        "ON CONFLICT (phone_number) DO UPDATE SET username = coalesce(excluded.username, u.username), "
        "username_key = coalesce(excluded.username_key, u.username_key), "
        "username_skeleton = coalesce(excluded.username_skeleton, u.username_skeleton), last_seen = now() "
        f"RETURNING {_USER_COLUMNS}",
        sign_in.phone_number,
        username.name if username else None,
        username.key if username else None,
        username.skeleton if username else None,
    )
    # The user first, as in a deletion of the account; a second sign-in with the same code finds it used.
    if record is None or not await use_code(connection, sign_in.phone_number, sign_in.request_id):
        return None
    # The owner of the number can sign in any number of times: only unused codes count.
    await forget_counted(connection, sign_in.phone_number, sign_in.sites)
    user = _user(record)
    device_id = await connection.fetchval(
        "INSERT INTO devices (user_id, token_hash, device_name, expires_at) "
        "VALUES ($1, $2, $3, now() + make_interval(days => $4)) RETURNING device_id",
        user.user_id,
        sign_in.token_hash,
        sign_in.device_name,
        sign_in.session_days,
    )
    return user, int(device_id)


_ALIVE: Final[LiteralString] = "revoked_at IS NULL AND expires_at > now()"


async def signed_in_user(connection: Connection, phone_number: str) -> int | None:
    """Return the user with this number, in E.164 form, if any device of theirs is signed in."""
    user_id: int | None = await connection.fetchval(
        "SELECT user_id FROM users u WHERE phone_number = $1 "
        f"AND EXISTS (SELECT FROM devices d WHERE d.user_id = u.user_id AND {_ALIVE})",
        phone_number,
    )
    return user_id


async def has_other_devices(connection: Connection, user_id: int, device_id: int) -> bool:
    """Return whether another device of a user than this one is signed in."""
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND device_id <> $2 AND {_ALIVE})", user_id, device_id
    )
    return found


async def devices_by_tokens(database: Database, token_hashes: Sequence[bytes]) -> dict[bytes, Principal]:
    """Return whose living devices have these tokens."""
    records = await database.fetch(
        f"SELECT token_hash, user_id, device_id, is_probe FROM devices "
        f"WHERE token_hash = ANY ($1::bytea[]) AND {_ALIVE}",
        list(token_hashes),
    )
    return {record[0]: Principal(record[1], record[2], record[3]) for record in records}


async def living_devices(database: Database, device_ids: Sequence[int]) -> set[int]:
    """Return those of the devices whose session has not ended."""
    records = await database.fetch(
        f"SELECT device_id FROM devices WHERE device_id = ANY ($1::bigint[]) AND {_ALIVE}", list(device_ids)
    )
    return {record[0] for record in records}


async def touch_devices(database: Database, device_ids: Sequence[int]) -> None:
    """Set last_used to now."""
    await database.execute(
        "WITH used AS MATERIALIZED (SELECT device_id FROM devices WHERE device_id = ANY ($1::bigint[]) "
        "ORDER BY device_id FOR NO KEY UPDATE) "
        "UPDATE devices d SET last_used = now() FROM used WHERE d.device_id = used.device_id",
        list(device_ids),
    )


async def devices_of(database: Database, user_id: int) -> list[Device]:
    """Return the user's living devices, the newest first."""
    records = await database.fetch(
        "SELECT device_id, device_name, created_at, last_used, expires_at FROM devices "
        f"WHERE user_id = $1 AND {_ALIVE} ORDER BY device_id DESC",
        user_id,
    )
    return [Device(row[0], row[1], micros(row[2]), micros(row[3]), micros(row[4])) for row in records]


async def revoke_device(connection: Connection, user_id: int, device_id: int) -> bool:
    """End a device's session; returns whether there was one."""
    tag = await connection.execute(
        f"UPDATE devices SET revoked_at = now() WHERE user_id = $1 AND device_id = $2 AND {_ALIVE}", user_id, device_id
    )
    return affected(tag) > 0


async def has_device(connection: Connection, user_id: int, device_id: int) -> bool:
    """Return whether a device is or was one of the user's."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND device_id = $2)", user_id, device_id
    )
    return found


async def store_ticket(database: Database, ticket_hash: bytes, device_id: int, seconds: int) -> None:
    """Store a ticket."""
    await database.execute(
        "INSERT INTO ws_tickets (ticket_hash, device_id, expires_at) "
        "VALUES ($1, $2, now() + make_interval(secs => $3))",
        ticket_hash,
        device_id,
        float(seconds),
    )


async def use_ticket(database: Database, ticket_hash: bytes) -> Principal | None:
    """Use up a ticket; returns its device if both are valid."""
    record = await database.fetchrow(
        "WITH used AS (DELETE FROM ws_tickets WHERE ticket_hash = $1 RETURNING device_id, expires_at) "
        "SELECT d.user_id, d.device_id FROM used u JOIN devices d USING (device_id) "
        "WHERE u.expires_at > now() AND d.revoked_at IS NULL AND d.expires_at > now()",
        ticket_hash,
    )
    return None if record is None else Principal(record[0], record[1])
