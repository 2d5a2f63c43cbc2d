"""Opens connections to the PostgreSQL that takes writes, with patience while another one is about to take them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from chatserver.storage.hosts import connect_first
from chatserver.storage.replicated import ReplicatedConnection

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_SECONDS = 2.0
"""Seconds to connect, TLS and password included, however many hosts there are."""

AGAIN_SECONDS = 0.2
"""Seconds, on average, until a connection is tried again while PostgreSQL starts or another instance becomes leader."""

CHANGE_SECONDS = 6.0
"""Seconds that a change of the leader takes at most. Longer outages are reported at once to whoever needs a connection,
so that clients wait and not requests."""

CHANGES: Final = (ConnectionError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)
"""Errors of a connection that may be over in a moment: nobody listens, PostgreSQL starts or ends, this is a replica."""


async def connect(
    dsn: str, *, application_name: str, command_timeout: float | None = None, **arguments: Any
) -> asyncpg.Connection[asyncpg.Record]:
    """Open one connection within CONNECT_SECONDS, to a server that is not a standby.

    Raises:
        OSError: nothing answers, or not in time (TimeoutError).
        asyncpg.PostgresError: PostgreSQL rejected the connection.
        ValueError: the DSN cannot be parsed.
    """

    async def attempt(host: str | None, port: int | None) -> asyncpg.Connection[asyncpg.Record]:
        made: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=command_timeout,
            server_settings={"application_name": application_name},
            target_session_attrs=SessionAttribute.primary,
            **{"connection_class": ReplicatedConnection, "host": host, "port": port, **arguments},
        )
        return made

    return await connect_first(dsn, attempt, seconds=CONNECT_SECONDS, discard=asyncpg.Connection.terminate)


class Patience:
    """Tries a refused connection again, as long as a change of the leader may take; in a longer outage it does not.

    Attributes:
        refused_since: time of the monotonic clock since which every try was refused; None: the last one was not.
    """

    def __init__(self) -> None:
        self.refused_since: float | None = None

    async def connect(
        self, read_dsn: Callable[[], str], *, application_name: str, **arguments: Any
    ) -> asyncpg.Connection[asyncpg.Record]:
        """Open one connection as soon as there is one to be had; it is for the caller to give up earlier.

        Args:
            read_dsn: returns the DSN; called at each try.
            application_name: as PostgreSQL shows it.
            arguments: of asyncpg.

        Raises:
            OSError, asyncpg.PostgresError: as of `connect`.
        """
        while True:
            try:
                made = await connect(read_dsn(), application_name=application_name, **arguments)
            except ValueError as error:
                # A half-written DSN file: the next try may find a complete one.
                raise ConnectionError("the DSN cannot be used") from error
            except CHANGES:
                now = time.monotonic()
                self.refused_since = self.refused_since or now
                if now - self.refused_since > CHANGE_SECONDS:
                    raise
            else:
                self.refused_since = None
                return made
            # Servers that lost their connections together do not come back together.
            await asyncio.sleep(AGAIN_SECONDS * (0.5 + random.random()))  # noqa: S311
