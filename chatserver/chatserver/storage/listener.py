"""The connection that listens for hints, and its liveness check."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from chatserver.errors import ServiceUnavailable
from chatserver.hints import HINT_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.storage.database import OwnConnection

PING_SECONDS: Final = 5.0
"""Seconds within which a healthy PostgreSQL answers."""

_CLOCK: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"


class Listener:
    """One connection that receives hints; created by Database.listen.

    Args:
        connection: owned by the listener from here on.
        is_outage: whether an error means that PostgreSQL is unavailable.
    """

    def __init__(self, connection: OwnConnection, is_outage: Callable[[Exception], bool]) -> None:
        self._connection = connection
        self._is_outage = is_outage
        self._closed = asyncio.Event()
        connection.add_termination_listener(self._on_end)

    async def start(self, on_payload: Callable[[str], None]) -> None:
        """Subscribe."""

        def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            on_payload(str(payload))

        await self._connection.add_listener(HINT_CHANNEL, hear)

    def _on_end(self, *_: object) -> None:
        self._closed.set()

    async def wait_closed(self) -> None:
        """Return when the connection is closed, for whatever reason."""
        await self._closed.wait()

    async def ping(self) -> float:
        """Return what PostgreSQL's clock shows, in Unix seconds: a silent connection looks like a healthy one.

        Raises:
            ServiceUnavailable: no answer within PING_SECONDS; the connection is terminated.
        """
        try:
            async with asyncio.timeout(PING_SECONDS):
                seconds: float = await self._connection.fetchval(_CLOCK)
        except Exception as error:
            if not self._is_outage(error):
                raise
            self.close()
            raise ServiceUnavailable from error
        return seconds

    def close(self) -> None:
        """Terminate the connection."""
        self._connection.terminate()
        self._closed.set()
