"""The connection that listens for hints, and its liveness check."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from chatserver.errors import ServiceUnavailable
from chatserver.hints import HINT_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.storage.database import OwnConnection
    from chatserver.storage.hint_sweep import Looks

PING_SECONDS: Final = 5.0
"""Seconds within which a healthy PostgreSQL answers."""

_CLOCK: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"

# As hint_sweep.claim finds them.
_CLOCK_AND_LEFT: Final = (
    _CLOCK + ", EXISTS (SELECT FROM hint_slots s WHERE s.written_at < now() - make_interval(secs => $1))"
)


class Listener:
    """One connection that receives hints; created by Database.listen.

    Args:
        connection: owned by the listener from here on.
        is_outage: whether an error means that PostgreSQL is unavailable.
        looks: gets what probes see.
    """

    def __init__(self, connection: OwnConnection, is_outage: Callable[[Exception], bool], looks: Looks) -> None:
        self._connection = connection
        self._is_outage = is_outage
        self._looks = looks
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
                return await self._probe()
        except Exception as error:
            if not self._is_outage(error):
                raise
            self.close()
            raise ServiceUnavailable from error

    async def _probe(self) -> float:
        stale_seconds = self._looks.stale_seconds
        if stale_seconds is None:
            return float(await self._connection.fetchval(_CLOCK))
        [(seconds, left)] = await self._connection.fetch(_CLOCK_AND_LEFT, stale_seconds)
        self._looks.saw(left=left)
        return float(seconds)

    def close(self) -> None:
        """Terminate the connection."""
        self._connection.terminate()
        self._closed.set()
