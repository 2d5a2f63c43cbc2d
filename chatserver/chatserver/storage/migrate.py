"""The migration runner: numbered SQL files, each applied once, in order, in its own transaction, under one lock.

A file with the line ``-- transaction: none`` is run without one, for indexes that are built while servers write. After
an interruption it is run again from its beginning: each command must be repeatable.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.storage.commands import split_commands
from chatserver.storage.database import Database, single_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chatserver.storage.database import Connection

log = structlog.get_logger()

MIGRATION_LOCK = 0x636861744D696772
"""Key of the advisory lock that lets one runner work at a time ("chatMigr" in ASCII)."""

LOCK_POLL_SECONDS = 0.2
"""Seconds between checks whether another runner is done."""

RETRY_SECONDS = 1.0
"""Seconds between tries while the database does not answer."""

LOCK_SECONDS = 2.0
"""Seconds that a statement waits for a lock: meanwhile other statements on the table wait behind it."""

CONCURRENT_LOCK_SECONDS = 60.0
"""The same for a statement outside a transaction: it waits for earlier transactions, and nothing waits behind it."""

BACK_OFF_MAX_SECONDS = 10.0
"""Longest wait between tries to get a lock; the first is RETRY_SECONDS."""

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_HEADER = re.compile(r"^-- oldest code: (\d+)$", re.MULTILINE)
_NO_TRANSACTION = re.compile(r"^-- transaction: none$", re.MULTILINE)
_BUILD = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (IF NOT EXISTS )?(\w+)", re.IGNORECASE)
_LOCKED = frozenset({"55P03", "40P01"})
"""SQLSTATEs for a lock that another session holds: not available in time, and a resolved deadlock."""


class SchemaRefused(Exception):
    """This code cannot use the database's schema; the text says why and what to do."""


class MigrationBlocked(Exception):
    """Another session holds a lock that a migration needs; the text says which migration and what to do."""


class Migration(msgspec.Struct, frozen=True):
    """One migration file.

    Attributes:
        number: its position in the order; the highest number of a release is its version of the schema.
        oldest_code: the lowest version whose code still works once this migration is applied.
        checksum: SHA-256 of the text, in hex.
        in_transaction: its commands run in one transaction.
    """

    number: int
    name: str
    oldest_code: int
    checksum: str
    sql: str
    in_transaction: bool = True

    @property
    def commands(self) -> tuple[str, ...]:
        """Its commands, in order."""
        return split_commands(self.sql)


class AppliedMigration(msgspec.Struct, frozen=True):
    """The database's record of a migration."""

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
        in_transaction = not _NO_TRANSACTION.search(files[name])
        migration = Migration(expected, name, int(header[1]), checksum, files[name], in_transaction)
        if not in_transaction:
            _check_repeatable(migration)
        migrations.append(migration)
    return tuple(migrations)


def _check_repeatable(migration: Migration) -> None:
    """Check a file that is run outside a transaction.

    Raises:
        ValueError: it has no command, or one that cannot be repeated.
    """
    if not migration.commands:
        raise ValueError(f"migration {migration.name!r} has no command")
    for command in migration.commands:
        built = _BUILD.match(command)
        if built and not built[1]:
            raise ValueError(
                f"migration {migration.name!r} builds {built[2]} without IF NOT EXISTS, so it cannot be repeated"
            )


def plan(known: Sequence[Migration], applied: Sequence[AppliedMigration]) -> tuple[Migration, ...]:
    """Return the known migrations that are still to be applied.

    A newer schema is accepted unless one of its migrations says that this code is too old: if a new release fails after
    its migration, the old servers keep serving.

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
                f"The file of migration {done.name} differs from the one that was applied. Restore the file: applied "
                "migrations never change; write a new one to correct them."
            )
    numbers = {done.number for done in applied}
    return tuple(migration for migration in known if migration.number not in numbers)


async def migrate(
    read_dsn: Callable[[], str], wait_seconds: float, migrations: Sequence[Migration] | None = None
) -> list[str]:
    """Update the schema to this code's version, waiting for the database and for locks up to `wait_seconds` each.

    Safe to run concurrently and repeatedly.

    Returns:
        The names of the migrations that were applied now.

    Raises:
        ServiceUnavailable: the database did not answer in time.
        MigrationBlocked: another session held a lock for all of that time.
        SchemaRefused: an applied migration was edited, or the schema is newer and says that this code is too old.
        StatementFailed: a migration is wrong; it was rolled back, unless it runs without a transaction.
    """
    known = read_migrations() if migrations is None else tuple(migrations)
    deadline = time.monotonic() + wait_seconds
    applied: list[str] = []
    while True:
        try:
            async with single_connection(read_dsn, "chatserver migrate") as connection:
                await _MigrationRunner(connection, known, wait_seconds).run(applied)
                return applied
        except ServiceUnavailable:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(RETRY_SECONDS)


class _MigrationRunner:
    """Applies the missing migrations through one connection."""

    def __init__(self, connection: Connection, known: Sequence[Migration], wait_seconds: float) -> None:
        self._connection = connection
        self._known = known
        self._wait_seconds = wait_seconds

    async def run(self, applied: list[str]) -> None:
        """Apply the missing migrations, and add their names to ``applied``; raises as of `migrate`."""
        connection = self._connection
        await self._lock_migrations()
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            "number integer PRIMARY KEY, name text NOT NULL, oldest_code integer NOT NULL, checksum text NOT NULL, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for migration in plan(self._known, await _read_applied(connection)):
            await self._apply(migration)
            applied.append(migration.name)

    async def _lock_migrations(self) -> None:
        """Wait for the lock that lets one runner work; closing the connection releases it.

        Not by waiting inside PostgreSQL: a concurrent index build waits for every earlier statement, and would wait for
        the runners that wait for it.
        """
        while True:
            if await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATION_LOCK):
                return
            await asyncio.sleep(LOCK_POLL_SECONDS)

    async def _apply(self, migration: Migration) -> None:
        """Apply one, retrying while another session holds a lock that it needs.

        Raises:
            MigrationBlocked: as of `migrate`.
        """
        deadline = time.monotonic() + self._wait_seconds
        wait_seconds = RETRY_SECONDS
        while True:
            try:
                await self._try(migration)
            except Exception as error:
                if getattr(error, "sqlstate", None) not in _LOCKED:
                    raise
                if time.monotonic() + wait_seconds >= deadline:
                    raise MigrationBlocked(_blocked(migration, await self._oldest_transactions())) from error
            else:
                return
            log.warning("migration_waits_for_lock", migration=migration.name, again_in_seconds=wait_seconds)
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, BACK_OFF_MAX_SECONDS)

    async def _try(self, migration: Migration) -> None:
        if migration.in_transaction:
            await self._set_lock_timeout(LOCK_SECONDS)
            async with self._connection.transaction():
                for command in migration.commands:
                    await self._connection.execute(command)
                await self._record(migration)
            return
        await self._set_lock_timeout(CONCURRENT_LOCK_SECONDS)
        for command in migration.commands:
            built = _BUILD.match(command)
            if built:
                await self._drop_half_built(built[2])
            await self._connection.execute(command)
        await self._record(migration)

    async def _set_lock_timeout(self, seconds: float) -> None:
        await self._connection.execute("SELECT set_config('lock_timeout', $1, false)", f"{int(seconds * 1000)}ms")

    async def _drop_half_built(self, index: str) -> None:
        """Drop the rest of an interrupted build: it is never used, and IF NOT EXISTS would mistake it for the index."""
        found = await self._connection.fetchval(
            "SELECT quote_ident($1) FROM pg_index WHERE indexrelid = to_regclass(quote_ident($1)) AND NOT indisvalid",
            index.lower(),
        )
        if found is not None:
            log.warning("half_built_index_dropped", index=index)
            await self._connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {found}")

    async def _record(self, migration: Migration) -> None:
        await self._connection.execute(
            "INSERT INTO schema_migrations (number, name, oldest_code, checksum) VALUES ($1, $2, $3, $4)",
            migration.number,
            migration.name,
            migration.oldest_code,
            migration.checksum,
        )

    async def _oldest_transactions(self) -> list[str]:
        """Return the sessions that may hold the lock: those with the oldest open transactions."""
        rows = await self._connection.fetch(
            "SELECT pid, application_name, extract(epoch FROM now() - xact_start)::int FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL "
            "ORDER BY xact_start LIMIT 3"
        )
        return [f"pid {row[0]} ({row[1] or 'unnamed'}, open for {row[2]} s)" for row in rows]


def _blocked(migration: Migration, sessions: Sequence[str]) -> str:
    whose = ", ".join(sessions) or "none is visible to this role"
    return (
        f"Migration {migration.name} needs a lock that another session holds; the schema stays as it was before it. "
        f"Oldest open transactions: {whose}. End the one that holds the lock (SELECT pg_terminate_backend(pid)), "
        "and run `chatserver migrate` again; on Kubernetes the Job retries automatically."
    )


async def _read_applied(connection: Connection) -> list[AppliedMigration]:
    rows = await connection.fetch("SELECT number, name, oldest_code, checksum FROM schema_migrations ORDER BY number")
    return [AppliedMigration(*row.values()) for row in rows]


async def check_schema(database: Database) -> None:
    """Check, before serving, that the database has the schema this code needs.

    Raises:
        SchemaRefused: migrations are missing (run `chatserver migrate`), or the schema excludes this code.
        ServiceUnavailable: the database is unavailable.
    """
    found = await database.fetchrow("SELECT to_regclass('schema_migrations') IS NOT NULL")
    applied: list[AppliedMigration] = []
    if found is not None and found[0]:
        async with database.connection() as connection:
            applied = await _read_applied(connection)
    missing = plan(read_migrations(), applied)
    if missing:
        raise SchemaRefused(
            f"The database lacks migration {missing[0].name}. Run `chatserver migrate`; on Kubernetes the Job of the "
            "migration does that (see the condition Progressing)."
        )
