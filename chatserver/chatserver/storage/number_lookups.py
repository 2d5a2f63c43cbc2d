"""SQL of look-ups by phone number: who has one, who was found before, and the allowances of users and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString

import msgspec

from chatserver.storage.calls import affected

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chatserver.storage.database import Connection, Database


class Found(msgspec.Struct, frozen=True):
    """The account of a number.

    Attributes:
        phone_number: in the form in which it is stored.
        known: the caller has found it before, or it is the caller.
    """

    phone_number: str
    user_id: int
    known: bool


WAS_FOUND: Final[LiteralString] = (
    "(u.user_id = $1 OR EXISTS (SELECT FROM found_numbers f WHERE f.user_id = $1 AND f.found_id = u.user_id))"
)
"""Whether the caller, $1, has found the user `u` by number before, or is that user."""


async def find(connection: Connection, user_id: int, numbers: Collection[str]) -> list[Found]:
    """Return the accounts that have one of the numbers."""
    records = await connection.fetch(
        f"SELECT u.phone_number, u.user_id, {WAS_FOUND} FROM users u WHERE u.phone_number = ANY ($2::text[])",
        user_id,
        list(numbers),
    )
    return [Found(*record) for record in records]


async def take(connection: Connection, subject: str, seconds: float, period_seconds: float) -> float:
    """Take from an allowance that is refilled evenly; the row is locked until the transaction ends.

    Args:
        connection: of a transaction.
        subject: whose allowance.
        seconds: what is taken, as the time in which it is refilled; at most the period.
        period_seconds: in which an empty allowance becomes full.

    Returns:
        0.0 if it was taken; else the seconds until it is available, and nothing was taken.
    """
    record = await connection.fetchrow(
        # A millisecond: rounded times never refuse the last number of a full allowance.
        "INSERT INTO number_budgets AS b (subject, full_at) VALUES ($1, now() + make_interval(secs => $2)) "
        "ON CONFLICT (subject) DO UPDATE "
        "SET full_at = greatest(b.full_at + make_interval(secs => $2), excluded.full_at) "
        "WHERE b.full_at <= excluded.full_at + make_interval(secs => $3 - 2 * $2 + 0.001) RETURNING true",
        subject,
        seconds,
        period_seconds,
    )
    if record is not None:
        return 0.0
    wait_seconds: float = await connection.fetchval(
        "SELECT greatest(extract(epoch FROM full_at - now())::float8 + $2::float8 - $3::float8, 1) "
        "FROM number_budgets WHERE subject = $1",
        subject,
        seconds,
        period_seconds,
    )
    return wait_seconds


async def remember(connection: Connection, user_id: int, found_ids: Sequence[int]) -> None:
    """Store whom a user has found by number."""
    await connection.execute(
        # In order: two look-ups of one user that run at once wait for each other and not both.
        "INSERT INTO found_numbers (user_id, found_id) SELECT $1, f FROM unnest($2::bigint[]) AS f ORDER BY f "
        "ON CONFLICT DO NOTHING",
        user_id,
        list(found_ids),
    )


FORGOTTEN_TOGETHER: Final = 10_000
"""Rows that one statement of `forget` deletes: some 50 ms."""


async def forget(database: Database, user_id: int, *, is_gone: bool) -> None:
    """Delete who has found a user by number, and whom the user has found if they are gone."""
    deleted = FORGOTTEN_TOGETHER
    while deleted == FORGOTTEN_TOGETHER:
        tag = await database.execute(
            "DELETE FROM found_numbers WHERE (user_id, found_id) IN (SELECT user_id, found_id FROM found_numbers "
            "WHERE found_id = $1 OR (user_id = $1 AND $2) LIMIT $3)",
            user_id,
            is_gone,
            FORGOTTEN_TOGETHER,
        )
        deleted = affected(tag)
