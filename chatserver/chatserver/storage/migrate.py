"""The migration runner: numbered SQL files, each once, in order, in a transaction, under one lock."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from chatserver.errors import ServiceUnavailable
from chatserver.storage.database import Database, single_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chatserver.storage.database import Connection

MIGRATION_LOCK = 0x636861744D696772
"""Key of the advisory lock that lets one runner work at a time ("chatMigr" in ASCII)."""

RETRY_SECONDS = 1.0
"""Seconds between tries while the database does not answer."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_HEADER = re.compile(r"^-- oldest code: (\d+)$", re.MULTILINE)


class SchemaRefused(Exception):
    """The database's schema cannot be used by this code; the text says why and what to do."""


class Migration(msgspec.Struct, frozen=True):
    """One migration file.

    Attributes:
        number: its place in the order; the highest one a code knows is that code's version of the schema.
        oldest_code: the lowest such version that can still work once this migration is applied.
        checksum: SHA-256 of the text, in hex.
    """

    number: int
    name: str
    oldest_code: int
    checksum: str
    sql: str


class AppliedMigration(msgspec.Struct, frozen=True):
    """What the database recorded of a migration."""

    number: int
    name: str
    oldest_code: int
    checksum: str


def read_migrations() -> tuple[Migration, ...]:
    """Return the migrations of this code, in order.

    Raises:
        ValueError: a file is misnamed, misses its header, or numbers do not run 1, 2, 3 ...
    """
    folder = resources.files("chatserver.storage") / "migrations"
    files = {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")}
    return parse_migrations(files)


def parse_migrations(files: Mapping[str, str]) -> tuple[Migration, ...]:
    """Return the migrations in {file name: text}; raises as of `read_migrations`."""
    migrations = []
    for expected, name in enumerate(sorted(files), start=1):
        matched, header = _FILE_NAME.fullmatch(name), _HEADER.search(files[name])
        if not matched or int(matched[1]) != expected:
            raise ValueError(f"migration {name!r} should be named {expected:04d}_verb_noun.sql")
        if not header:
            raise ValueError(f"migration {name!r} lacks its line '-- oldest code: N'")
        checksum = hashlib.sha256(files[name].encode()).hexdigest()
        migrations.append(Migration(expected, name, int(header[1]), checksum, files[name]))
    return tuple(migrations)


def plan(known: Sequence[Migration], applied: Sequence[AppliedMigration]) -> tuple[Migration, ...]:
    """Return the known migrations that are still to be applied.

    A database that is ahead is fine unless one of its newer migrations says that this code is too old: after a
    migration whose new version fails, the old servers go on serving.

    Raises:
        SchemaRefused: an applied migration differs from the file, or the schema excludes this code.
    """
    version = len(known)
    for done in applied:
        if done.number > version:
            if done.oldest_code > version:
                raise SchemaRefused(
                    f"The database has migration {done.name}, which needs code of schema version {done.oldest_code}; "
                    f"this is version {version}. Run a newer release."
                )
        elif known[done.number - 1].checksum != done.checksum:
            raise SchemaRefused(
                f"Migration {done.name} was applied with another content. Restore the file: applied migrations never "
                "change, a new one corrects them."
            )
    numbers = {done.number for done in applied}
    return tuple(migration for migration in known if migration.number not in numbers)


async def migrate(
    read_dsn: Callable[[], str], wait_seconds: float, migrations: Sequence[Migration] | None = None
) -> list[str]:
    """Bring the schema up to this code's, waiting for the database up to `wait_seconds`.

    Safe to run from several places at once, and again.

    Returns:
        The names of the migrations that were applied now.

    Raises:
        ServiceUnavailable: the database did not answer in time.
        SchemaRefused: an applied migration was edited, or the schema is newer and says that this code is too old.
        StatementFailed: a migration is wrong; it left nothing behind.
    """
    known = read_migrations() if migrations is None else tuple(migrations)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            async with single_connection(read_dsn, "chatserver migrate") as connection:
                return await _apply(connection, known)
        except ServiceUnavailable:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(RETRY_SECONDS)


async def _apply(connection: Connection, known: Sequence[Migration]) -> list[str]:
    names: list[str] = []
    await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            "number integer PRIMARY KEY, name text NOT NULL, oldest_code integer NOT NULL, checksum text NOT NULL, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for migration in plan(known, await _read_applied(connection)):
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (number, name, oldest_code, checksum) VALUES ($1, $2, $3, $4)",
                    migration.number,
                    migration.name,
                    migration.oldest_code,
                    migration.checksum,
                )
            names.append(migration.name)
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
    return names


async def _read_applied(connection: Connection) -> list[AppliedMigration]:
    rows = await connection.fetch("SELECT number, name, oldest_code, checksum FROM schema_migrations ORDER BY number")
    return [AppliedMigration(*row.values()) for row in rows]


async def check_schema(database: Database) -> None:
    """Check, before serving, that the database has the schema this code needs.

    Raises:
        SchemaRefused: migrations are missing (run `chatserver migrate`), or the schema excludes this code.
        ServiceUnavailable: the database is away.
    """
    found = await database.fetchrow("SELECT to_regclass('schema_migrations') IS NOT NULL")
    applied: list[AppliedMigration] = []
    if found is not None and found[0]:
        async with database.connection() as connection:
            applied = await _read_applied(connection)
    missing = plan(read_migrations(), applied)
    if missing:
        raise SchemaRefused(f"The database lacks migration {missing[0].name}. Run `chatserver migrate`.")
