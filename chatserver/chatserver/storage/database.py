"""The pool of PostgreSQL connections with bounded waits; opens the connection that listens for hints, too.

The only importer of asyncpg beside `connecting.py` and `replicated.py`: any failure between here and PostgreSQL becomes
ServiceUnavailable within CALL_SECONDS, and the next call tries again, so that nothing has to be restarted after an
outage.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, LiteralString, Self

import asyncpg

from chatserver.errors import ServiceUnavailable
from chatserver.storage.calls import CallTimes
from chatserver.storage.connecting import CONNECT_SECONDS, Patience, connect
from chatserver.storage.epochs import Undecided
from chatserver.storage.hint_sweep import Looks
from chatserver.storage.listener import Listener
from chatserver.storage.outages import UNKNOWN, error_of
from chatserver.storage.publishing import HintPublisher, notify
from chatserver.storage.replicated import ReplicatedConnection
from chatserver.storage.session import REJECTS_WRITES, SESSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    """A connection as other modules name it, so that none of them needs asyncpg."""

    OwnConnection = asyncpg.Connection[asyncpg.Record]
    """A connection outside of the pool."""

    Record = asyncpg.Record
    """One row of a result."""

ACQUIRE_SECONDS = 4.0
"""Seconds to wait for a free or new connection: a pool that is full for longer is overloaded. As long as it takes until
another instance leads and a replica follows it, so that a send that meets a switchover waits instead of failing."""

STATEMENT_SECONDS = 4.0
"""Seconds one statement may take before it is cancelled."""

CALL_SECONDS = 5.0
"""Seconds one call may take in all; then its connection is terminated, also when the server does not respond."""

CACHED_STATEMENTS = 200
"""Prepared statements that a connection keeps: more than the code has."""


def _translate(error: Exception) -> Exception:
    """Return the project's error for an error of asyncpg or the network."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = str(getattr(error, "sqlstate", None) or UNKNOWN)
        return error_of(sqlstate, getattr(error, "constraint_name", None))
    return ServiceUnavailable()


_OUTAGES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError, EOFError)
"""Errors that a missing, slow or restarting PostgreSQL causes."""


def _is_outage(error: Exception) -> bool:
    # InterfaceError is both a closed connection and a wrong argument; only the first is an outage.
    return isinstance(error, _OUTAGES) or (
        isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
    )


class Database:
    """A pool of connections to one PostgreSQL.

    Args:
        read_dsn: returns the DSN; called at each new connection, so that a rotated password works.
        pool_size: connections at most.
        read_listen_dsn: the same for the connection that listens; None: `read_dsn`.
        pooled: `read_dsn` leads to a pooler in transaction mode, where a session keeps nothing from one transaction to
            the next: no settings, no prepared statements, no LISTEN.
        server_name: this server's name: the origin of the hints it sends, and PostgreSQL's application_name.
        on_call: called with the times of each call, for metrics.

    Attributes:
        hints: publishes what transactions committed for other servers to hear.
        looks: what probes of the listening connection see.
        undecided: since when the epoch of cursors has not been known.
    """

    def __init__(
        self,
        read_dsn: Callable[[], str],
        *,
        server_name: str,
        pool_size: int = 8,
        read_listen_dsn: Callable[[], str] | None = None,
        pooled: bool = False,
        on_call: Callable[[CallTimes], None] | None = None,
    ) -> None:
        self.server_name = server_name
        self.hints = HintPublisher(server_name, partial(notify, self), by_notify=True)
        self.looks = Looks(self.hints.wake)
        self.undecided = Undecided()
        self._read_dsn = read_dsn
        self._read_listen_dsn = read_listen_dsn or read_dsn
        self._pooled = pooled
        self._pool_size = pool_size
        self._on_call = on_call
        self._patience = Patience()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> Self:
        """Create the pool. It connects when first used, so this succeeds while PostgreSQL is unavailable."""
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                min_size=0,
                max_size=self._pool_size,
                connect=self._connect,
                connection_class=ReplicatedConnection,
                reset=_keep_session,
                # Without prepared statements each is planned for its arguments, and by statistics: no kept plan can
                # be wrong, so that SESSION is not needed there.
                statement_cache_size=0 if self._pooled else CACHED_STATEMENTS,
                command_timeout=STATEMENT_SECONDS,
            )
        return self

    async def close(self, timeout_seconds: float = CALL_SECONDS) -> None:
        """Close all connections; those still busy after the timeout are terminated."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.hints.close()
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()
        except BaseException:
            self._pool.terminate()
            raise
        finally:
            self._pool = None

    def connection_counts(self) -> tuple[int, int]:
        """Return how many connections the pool has open, and how many of them are idle."""
        return (0, 0) if self._pool is None else (self._pool.get_size(), self._pool.get_idle_size())

    async def _connect(self, *_: object, **arguments: Any) -> asyncpg.Connection[asyncpg.Record]:
        """Connect, until whoever waits for it gives up: as of ACQUIRE_SECONDS."""
        name = f"chatserver {self.server_name}"
        connection = await self._patience.connect(self._read_dsn, application_name=name, **arguments)
        if self._pooled:
            return connection
        try:
            await connection.execute(SESSION, timeout=CONNECT_SECONDS)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def connection(self, call: CallTimes | None = None) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """Lend a connection for at most CALL_SECONDS.

        Args:
            call: what it is for; gets the times. None: something that is not timed apart.

        Raises:
            ServiceUnavailable: PostgreSQL is unavailable or too slow, or the pool is exhausted.
            StatementFailed: PostgreSQL rejected the content of a statement.
        """
        if self._pool is None:
            raise ServiceUnavailable("The server is starting or stopping.")
        call = call or CallTimes("other")
        started = time.monotonic()
        connection: PoolConnectionProxy[asyncpg.Record] | None = None
        try:
            async with asyncio.timeout(CALL_SECONDS):
                try:
                    connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
                finally:
                    call.acquire_seconds = time.monotonic() - started
                yield connection
            call.succeeded = True
        except Exception as error:
            if not _is_outage(error):
                raise
            translated = _translate(error)
            if connection is not None and isinstance(error, TimeoutError):
                # Its backend may be frozen: a cancel or rollback request could wait for ever.
                connection.terminate()
            raise translated from error
        finally:
            if connection is not None:
                await self._release(connection)
            call.seconds = time.monotonic() - started
            if self._on_call is not None:
                self._on_call(call)

    async def _release(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        if self._pool is None:
            return
        try:
            await self._pool.release(connection, timeout=1)
        except Exception as error:
            # The connection is lost and will be replaced; the call itself has its result.
            if not _is_outage(error):
                raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """Lend a connection with a READ COMMITTED transaction around the block; errors as of `connection`."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def snapshot(self, call: CallTimes) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """Lend a connection whose statements in the block all see one snapshot; errors as of `connection`."""
        async with (
            self.connection(call) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def fetch(
        self, query: LiteralString, *arguments: object, call: CallTimes | None = None
    ) -> list[asyncpg.Record]:
        """Run one statement and return its rows; errors as of `connection`."""
        async with self.connection(call) as connection:
            return await connection.fetch(query, *arguments)

    async def fetch_sized(
        self, query: LiteralString, *arguments: object, call: CallTimes | None = None
    ) -> list[asyncpg.Record]:
        """Like `fetch`, but planned for these arguments: for a statement whose limits decide how much it joins.

        A cached plan does not know `LIMIT $n`, assumes that the lists are short and compares each of their rows with
        each (2,500 rows: 800 ms instead of 60). Planning costs 2 ms; do not use this for statements that take less.
        """
        async with self.connection(call) as connection:
            if self._pooled:
                return await connection.fetch(query, *arguments)
            # The unnamed statement is not cached, and neither is its plan.
            return await (await connection.prepare(query, name="")).fetch(*arguments)

    async def fetchrow(self, query: LiteralString, *arguments: object) -> asyncpg.Record | None:
        """Run one statement and return its first row; errors as of `connection`."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def execute(self, query: LiteralString, *arguments: object) -> str:
        """Run one statement and return its command tag; errors as of `connection`."""
        async with self.connection() as connection:
            return await connection.execute(query, *arguments)

    async def ping(self) -> None:
        """Check that PostgreSQL answers and accepts writes, or would if its volume were not full.

        Raises:
            ServiceUnavailable: it does not.
        """
        row = await self.fetchrow("SELECT " + REJECTS_WRITES)
        if row is None or row[0]:
            raise ServiceUnavailable("The database is read-only or a standby.")

    async def listen(self, on_payload: Callable[[str], None]) -> Listener:
        """Open a separate connection, outside of the pool, that listens for hints.

        Args:
            on_payload: called in the event loop with each payload; must not block or raise.

        Raises:
            ServiceUnavailable: PostgreSQL is unavailable.
        """
        connection = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS * 2):
                connection = await connect(
                    self._read_listen_dsn(),
                    application_name=f"chatserver {self.server_name} listen",
                    command_timeout=STATEMENT_SECONDS,
                )
                listener = Listener(connection, _is_outage, self.looks)
                await listener.start(on_payload)
                return listener
        except BaseException as error:
            if connection is not None:
                # PostgreSQL may be frozen: terminate, not close, or each try would leave one connection open.
                connection.terminate()
            if not isinstance(error, Exception):
                raise
            if not _is_outage(error) and not isinstance(error, ValueError):
                raise
            raise ServiceUnavailable from error


@asynccontextmanager
async def single_connection(
    read_dsn: Callable[[], str], application_name: str
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Lend a connection without a pool and without time limits for its statements, for migrations.

    Raises:
        ServiceUnavailable: PostgreSQL is unavailable or rejects connections.
        StatementFailed: as of Database.connection.
    """
    connection: asyncpg.Connection[asyncpg.Record] | None = None
    try:
        connection = await connect(read_dsn(), application_name=application_name)
        yield connection
    except Exception as error:
        if not _is_outage(error):
            raise
        raise _translate(error) from error
    finally:
        if connection is not None:
            connection.terminate()


async def _keep_session(_connection: object) -> None:
    """Replace the pool's reset statement, which would cost a round trip per call: no code here changes a session."""
