"""SQL of sign-in codes and of the counters that limit them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.storage.database import Connection


class StoredCode(msgspec.Struct, frozen=True):
    """What storing a code found.

    Attributes:
        sends: codes sent to the number in a row without being used, this one included; 1 when there was no good one.
        previous_age_seconds: since the one before; 0 when it was stored at the same moment, or there is none.
    """

    sends: int
    previous_age_seconds: float


class Hour(msgspec.Struct, frozen=True):
    """Events of one subject in this hour, and the seconds until it ends."""

    events: int
    seconds_left: float


def address_key(subject: str) -> str:
    """Return the key of the counter of an address."""
    return f"address:{subject}"


def number_key(phone_number: str) -> str:
    """Return the key of the counter of a phone number."""
    return f"number:{phone_number}"


async def store_code(
    connection: Connection, phone_number: str, code_hmac: bytes, *, seconds: int, tries: int
) -> StoredCode:
    """Keep a code; it replaces the number's older one. Codes, counters and tickets that are over are swept along.

    Whoever asks for the same number meanwhile waits until this transaction ends, and then sees its code.
    """
    record = await connection.fetchrow(
        """
        WITH old_codes AS (
            DELETE FROM auth_codes WHERE phone_number IN (
                SELECT phone_number FROM auth_codes WHERE expires_at < now() AND phone_number <> $1
                LIMIT 20 FOR UPDATE SKIP LOCKED)
        ), old_counters AS (
            DELETE FROM rate_counters WHERE (subject, hour_start) IN (
                SELECT subject, hour_start FROM rate_counters WHERE hour_start < now() - interval '2 hours'
                LIMIT 20 FOR UPDATE SKIP LOCKED)
        ), old_tickets AS (
            DELETE FROM ws_tickets WHERE ticket_hash IN (
                SELECT ticket_hash FROM ws_tickets WHERE expires_at < now() LIMIT 20 FOR UPDATE SKIP LOCKED)
        ), before AS (
            SELECT created_at FROM auth_codes WHERE phone_number = $1 FOR UPDATE
        ), stored AS (
            INSERT INTO auth_codes AS a (phone_number, code_hmac, tries_left, expires_at)
            -- Reading it first makes that it is locked and read before it is changed.
            SELECT $1, $2, $3, now() + make_interval(secs => $4) FROM (SELECT count(*) FROM before) AS locked
            ON CONFLICT (phone_number) DO UPDATE SET code_hmac = excluded.code_hmac, tries_left = excluded.tries_left,
                sends = CASE WHEN a.expires_at > now() THEN least(a.sends + 1, 1000) ELSE 1 END,
                created_at = clock_timestamp(), expires_at = excluded.expires_at
            RETURNING sends
        )
        SELECT s.sends, coalesce(extract(epoch FROM clock_timestamp() - b.created_at), 0)::float8
        FROM stored s LEFT JOIN before b ON true
        """,
        phone_number,
        code_hmac,
        tries,
        float(seconds),
    )
    return StoredCode(1, 0.0) if record is None else StoredCode(record[0], record[1])


async def count_codes(connection: Connection, subjects: Sequence[str]) -> list[Hour]:
    """Count one code for each subject in this hour; returns the hour of each, this code included."""
    records = await connection.fetch(
        "WITH counted AS (INSERT INTO rate_counters AS r (subject, hour_start, events) "
        "SELECT s, date_trunc('hour', now()), 1 FROM unnest($1::text[]) AS s ORDER BY s "
        "ON CONFLICT (subject, hour_start) DO UPDATE SET events = r.events + 1 RETURNING subject, events) "
        "SELECT c.events, extract(epoch FROM date_trunc('hour', now()) + interval '1 hour' - now())::float8 "
        "FROM unnest($1::text[]) WITH ORDINALITY AS a (subject, ord) JOIN counted c USING (subject) ORDER BY a.ord",
        list(subjects),
    )
    return [Hour(record[0], record[1]) for record in records]


async def forget_codes_counted(connection: Connection, phone_number: str) -> None:
    """Let the codes that a number was sent count no longer."""
    await connection.execute("DELETE FROM rate_counters WHERE subject = $1", number_key(phone_number))


async def try_code(connection: Connection, phone_number: str) -> bytes | None:
    """Count a try at the number's code and return its HMAC; None when there is no code or no try left."""
    record = await connection.fetchrow(
        "UPDATE auth_codes SET tries_left = tries_left - 1 "
        "WHERE phone_number = $1 AND expires_at > now() AND tries_left > 0 RETURNING code_hmac",
        phone_number,
    )
    return None if record is None else bytes(record[0])
