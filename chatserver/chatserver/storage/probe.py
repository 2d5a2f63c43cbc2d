"""SQL of the probe's two accounts: enrolment of their tokens, and the deletion of their old messages.

Their numbers begin with +0, as no telephone number does: no client can sign in with one, look it up or write to it.
docs/decisions/0060 gives the reasons.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, LiteralString

from chatserver.environment import PREFIX, Reader, SettingsError
from chatserver.hints import HINT_CHANNEL, Hint
from chatserver.storage.database import single_connection
from chatserver.storage.hint_slots import HintSlots
from chatserver.storage.hint_sweep import leave

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chatserver.storage.database import Connection, Database

VARIABLE = "PROBE_TOKEN_HASHES"

ACCOUNTS: Final = ("+0000000001", "+0000000002")

IS_NO_PROBE: Final[LiteralString] = (
    "NOT EXISTS (SELECT FROM users probe WHERE probe.user_id = $1 AND probe.phone_number LIKE '+0%')"
)
"""Condition of statements whose $1 is the caller: the probe finds nobody."""

DEVICE_NAME = "probe"

FIRST_TEXT = "The probe of this chat sends its messages here."
"""A direct chat is listed once it has a message, and by the list the probe finds it."""

KEPT_HOURS = 24
"""Messages of the probe are deleted after so long; the newest one stays."""

PRUNE_BATCH = 1000
"""Rows deleted by one statement: more than a probe sends in a minute, once by each server."""

ENROLMENT_LOCK = 0x70726F6265
"""Key of the advisory lock that lets one enrolment run at a time ("probe" in ASCII)."""

_HASH = re.compile(r"[0-9a-f]{64}")


def read_token_hashes(environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the SHA-256 hashes of the probe's tokens: two, or none where there is no probe.

    Raises:
        SettingsError: the variable holds something else.
    """
    texts = (Reader(environ, {}).optional(VARIABLE) or "").split(",")
    if texts == [""]:
        return ()
    if len(texts) != len(ACCOUNTS) or not all(map(_HASH.fullmatch, texts)):
        raise SettingsError(f"{PREFIX}{VARIABLE} must be two SHA-256 hashes in hex, separated by a comma")
    return tuple(map(bytes.fromhex, texts))


async def enrol(read_dsn: Callable[[], str], token_hashes: Sequence[bytes]) -> None:
    """Let these tokens, and no others, sign in the probe's accounts; again it changes nothing.

    Args:
        read_dsn: returns the DSN.
        token_hashes: of the first and the second account; empty: nobody signs in any more.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    async with single_connection(read_dsn, "chatserver migrate") as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", ENROLMENT_LOCK)
        # Nobody here publishes them: servers find them in the slots, within some seconds.
        slots = HintSlots("migrate")
        await _revoke_others(connection, token_hashes, slots)
        if token_hashes:
            await _add(connection, token_hashes, slots)


async def _revoke_others(connection: Connection, token_hashes: Sequence[bytes], slots: HintSlots) -> None:
    revoked = await connection.fetch(
        "UPDATE devices SET revoked_at = now() WHERE revoked_at IS NULL AND token_hash <> ALL ($2::bytea[]) "
        "AND user_id = ANY (ARRAY(SELECT user_id FROM users WHERE phone_number = ANY ($1::text[]))) "
        "RETURNING device_id",
        list(ACCOUNTS),
        list(token_hashes),
    )
    if revoked:
        hint = Hint("migrate", revoked=tuple(row[0] for row in revoked))
        await leave(connection, (slots.owner, *slots.take()), hint.encode_whole())
        # Servers of the release before, beside which this runs, read no slots.
        await connection.execute(
            "SELECT pg_notify($1, hint) FROM unnest($2::text[]) AS hint", HINT_CHANNEL, hint.encode()
        )


async def _add(connection: Connection, token_hashes: Sequence[bytes], slots: HintSlots) -> None:
    await connection.execute(
        "INSERT INTO users (phone_number) SELECT unnest($1::text[]) ON CONFLICT (phone_number) DO NOTHING",
        list(ACCOUNTS),
    )
    await connection.execute(
        "INSERT INTO devices (user_id, token_hash, device_name, expires_at, is_probe) "
        "SELECT u.user_id, given.token_hash, $3, now() + interval '100 years', true "
        "FROM unnest($1::text[], $2::bytea[]) AS given (phone_number, token_hash) JOIN users u USING (phone_number) "
        "ON CONFLICT (token_hash) DO UPDATE SET revoked_at = NULL WHERE devices.is_probe",
        list(ACCOUNTS),
        list(token_hashes),
        DEVICE_NAME,
    )
    first, second = [
        row[0]
        for row in await connection.fetch(
            "SELECT user_id FROM users WHERE phone_number = ANY ($1::text[]) ORDER BY phone_number", list(ACCOUNTS)
        )
    ]
    chat_id = await connection.fetchval(
        "SELECT o_chat FROM open_direct_chat('migrate', $1, $2, $3, $4, $5)", slots.owner, *slots.take(), first, second
    )
    await connection.execute(
        "WITH opened AS (UPDATE chats SET last_seq = 1, last_xact = pg_current_xact_id(), last_at = clock_timestamp() "
        "WHERE chat_id = $1 AND last_seq = 0 RETURNING chat_id, last_at) "
        "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
        "SELECT chat_id, 1, $2, $3, last_at FROM opened",
        chat_id,
        first,
        FIRST_TEXT,
    )


async def prune(database: Database) -> int:
    """Delete messages of the probe that are older than KEPT_HOURS, a bounded number; returns how many.

    The newest row stays, so that the chat's last number is one that exists. Only the probe's accounts see the chat.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    record = await database.fetchrow(
        "WITH mine AS ("
        "SELECT c.chat_id, c.last_seq FROM users one JOIN users two ON two.phone_number = $2 "
        "JOIN direct_chats d ON d.user_lo = least(one.user_id, two.user_id) "
        "AND d.user_hi = greatest(one.user_id, two.user_id) "
        "JOIN chats c ON c.chat_id = d.chat_id WHERE one.phone_number = $1"
        "), oldest AS MATERIALIZED ("
        "SELECT m.chat_id, m.seq, m.created_at FROM mine JOIN LATERAL ("
        "SELECT m.chat_id, m.seq, m.created_at FROM messages m WHERE m.chat_id = mine.chat_id "
        "AND m.seq < mine.last_seq ORDER BY m.seq LIMIT $4) m ON true"
        "), gone AS ("
        "DELETE FROM messages m USING oldest o WHERE m.chat_id = o.chat_id AND m.seq = o.seq "
        "AND o.created_at < now() - make_interval(hours => $3) RETURNING 1) "
        "SELECT count(*) FROM gone",
        *ACCOUNTS,
        KEPT_HOURS,
        PRUNE_BATCH,
    )
    return 0 if record is None else int(record[0])
