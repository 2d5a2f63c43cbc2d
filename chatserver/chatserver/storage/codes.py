"""SQL of sign-in codes and of the counters that limit them.

Locks are taken in one order everywhere: the user's own chat, the user, `code_requests`, `code_counters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.storage.database import Connection, Database


class NewCode(msgspec.Struct, frozen=True, kw_only=True):
    """What a request for a code stores.

    Attributes:
        address: what counts as one client.
        secret_hash: of the code_id that only the requester gets.
        seconds: how long the code is valid.
        tries: tries with the code_id, and as many by address without it.
        sends: consecutive codes that this address requested for the number without using one, this one included.
    """

    phone_number: str
    address: str
    secret_hash: bytes
    code_hmac: bytes
    seconds: int
    tries: int
    sends: int


class UnusedCode(msgspec.Struct, frozen=True):
    """The last valid code that an address requested for a number.

    Attributes:
        sends: as of NewCode.
        age_seconds: since it was made.
    """

    sends: int
    age_seconds: float


class TriedCode(msgspec.Struct, frozen=True):
    """The code that a try is compared with.

    Attributes:
        address: the address that requested it; empty: not stored.
        tries_left: tries left after this one.
    """

    request_id: int
    address: str
    code_hmac: bytes
    tries_left: int


class Counter(msgspec.Struct, frozen=True):
    """A counter of events within a period.

    Attributes:
        phone_number: empty: all numbers together.
        address: empty: all addresses together.
        kind: what is counted.
        limit: events allowed in a period.
        seconds: the period, which begins with its first event.
    """

    phone_number: str
    address: str
    kind: str
    limit: int
    seconds: int


class Count(msgspec.Struct, frozen=True):
    """The value of a counter, and the seconds until its period ends."""

    events: int
    seconds_left: float


async def last_unused(connection: Connection, phone_number: str, address: str) -> UnusedCode | None:
    """Return the last code that an address requested for a number, if it is still valid."""
    record = await connection.fetchrow(
        "SELECT sends, greatest(extract(epoch FROM clock_timestamp() - created_at), 0)::float8 FROM code_requests "
        "WHERE phone_number = $1 AND address IN ($2, '') AND expires_at > now() ORDER BY request_id DESC LIMIT 1",
        phone_number,
        address,
    )
    return None if record is None else UnusedCode(record[0], record[1])


async def store_code(connection: Connection, code: NewCode) -> None:
    """Store a code in addition to the number's others."""
    await connection.execute(
        "INSERT INTO code_requests (phone_number, address, secret_hash, code_hmac, tries_left, address_tries_left, "
        "sends, expires_at) VALUES ($1, $2, $3, $4, $5, $5, $6, now() + make_interval(secs => $7))",
        code.phone_number,
        code.address,
        code.secret_hash,
        code.code_hmac,
        code.tries,
        code.sends,
        float(code.seconds),
    )


async def count(connection: Connection, counters: Sequence[Counter], events: int) -> list[Count]:
    """Add events to each counter and return the new values; 0 events only lock the counters.

    The counter of all requests comes last: every transaction waits for it.
    """
    records = await connection.fetch(
        "WITH counted AS (INSERT INTO code_counters AS c (phone_number, address, kind, events, ends_at) "
        "SELECT n, a, k, $5::int, now() + make_interval(secs => s) "
        "FROM unnest($1::text[], $2::text[], $3::text[], $4::float8[]) AS i (n, a, k, s) "
        "ORDER BY n DESC, a DESC, k DESC "
        "ON CONFLICT (phone_number, address, kind) DO UPDATE SET "
        "events = CASE WHEN c.ends_at <= now() THEN 0 ELSE c.events END + excluded.events, "
        "ends_at = CASE WHEN c.ends_at <= now() THEN excluded.ends_at ELSE c.ends_at END "
        "RETURNING phone_number, address, kind, events, ends_at) "
        "SELECT c.events, extract(epoch FROM c.ends_at - now())::float8 "
        "FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (phone_number, address, kind, ord) "
        "JOIN counted c USING (phone_number, address, kind) ORDER BY i.ord",
        [counter.phone_number for counter in counters],
        [counter.address for counter in counters],
        [counter.kind for counter in counters],
        [float(counter.seconds) for counter in counters],
        events,
    )
    return [Count(record[0], record[1]) for record in records]


async def forget_counted(connection: Connection, phone_number: str, addresses: Sequence[str] | None = None) -> None:
    """Delete the counters of a number; with addresses, those of it and them, and of all codes sent to the number."""
    await connection.execute(
        "DELETE FROM code_counters WHERE (phone_number, address, kind) IN (SELECT phone_number, address, kind "
        "FROM code_counters WHERE phone_number = $1 "
        "AND ($2::text[] IS NULL OR address = ANY ($2) OR (address = '' AND kind = 'codes')) "
        "ORDER BY phone_number DESC, address DESC, kind DESC FOR UPDATE)",
        phone_number,
        None if addresses is None else list(addresses),
    )


async def try_by_secret(connection: Connection, phone_number: str, secret_hash: bytes) -> TriedCode | None:
    """Count a try with a code_id; None: no such request for the number, no valid code, or no tries left."""
    record = await connection.fetchrow(
        "UPDATE code_requests SET tries_left = tries_left - 1 WHERE secret_hash = $2 AND phone_number = $1 "
        "AND expires_at > now() AND tries_left > 0 RETURNING request_id, address, code_hmac, tries_left",
        phone_number,
        secret_hash,
    )
    return None if record is None else TriedCode(*record)


async def try_by_address(connection: Connection, phone_number: str, address: str) -> TriedCode | None:
    """Count a try without a code_id at the last code that this address requested; None as of `try_by_secret`."""
    record = await connection.fetchrow(
        "UPDATE code_requests SET address_tries_left = address_tries_left - 1 WHERE request_id = ("
        "SELECT request_id FROM code_requests WHERE phone_number = $1 AND address IN ($2, '') AND expires_at > now() "
        "ORDER BY request_id DESC LIMIT 1) AND address_tries_left > 0 "
        "RETURNING request_id, address, code_hmac, address_tries_left",
        phone_number,
        address,
    )
    return None if record is None else TriedCode(*record)


async def use_code(connection: Connection, phone_number: str, request_id: int) -> bool:
    """Use up a code, and the others that the same address requested for the number; returns whether it existed."""
    records = await connection.fetch(
        "DELETE FROM code_requests WHERE phone_number = $1 "
        "AND address = (SELECT address FROM code_requests WHERE request_id = $2) RETURNING request_id",
        phone_number,
        request_id,
    )
    return any(record[0] == request_id for record in records)


async def forget_codes(connection: Connection, phone_number: str) -> None:
    """Delete all codes of a number."""
    await connection.execute("DELETE FROM code_requests WHERE phone_number = $1", phone_number)
    await connection.execute("DELETE FROM auth_codes WHERE phone_number = $1", phone_number)


async def signed_in_addresses(connection: Connection, phone_number: str, limit: int) -> list[str]:
    """Return the addresses that the number's account has signed in from, as the audit log has them."""
    records = await connection.fetch(
        "SELECT a.detail ->> 'address' FROM users u JOIN audit_events a ON a.user_id = u.user_id "
        "WHERE u.phone_number = $1 AND a.action = 'signed_in' ORDER BY a.at DESC LIMIT $2",
        phone_number,
        limit,
    )
    return [record[0] for record in records if record[0]]


_EXPIRED: Final[tuple[LiteralString, ...]] = (
    (
        "DELETE FROM code_requests WHERE request_id IN ("
        "SELECT request_id FROM code_requests WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
    (
        "DELETE FROM code_counters WHERE (phone_number, address, kind) IN (SELECT phone_number, address, kind "
        "FROM code_counters WHERE ends_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
    (
        "DELETE FROM ws_tickets WHERE ticket_hash IN ("
        "SELECT ticket_hash FROM ws_tickets WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
    (
        "DELETE FROM number_budgets WHERE subject IN ("
        "SELECT subject FROM number_budgets WHERE full_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
    # Tables of the previous release.
    (
        "DELETE FROM auth_codes WHERE phone_number IN ("
        "SELECT phone_number FROM auth_codes WHERE expires_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
    (
        "DELETE FROM rate_counters WHERE (subject, hour_start) IN (SELECT subject, hour_start FROM rate_counters "
        "WHERE hour_start < now() - interval '2 hours' LIMIT $1 FOR UPDATE SKIP LOCKED)"
    ),
)


async def sweep(database: Database, limit: int) -> None:
    """Delete expired codes, counters, tickets and full allowances of numbers, up to so many of each."""
    for statement in _EXPIRED:
        await database.execute(statement, limit)
