"""Tells all servers that a device has connected, so that its older socket closes wherever it is (4009)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.hints import Hint
from chatserver.supervision import isolated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.fanout.bus import Bus
    from chatserver.fanout.connection import Connection
    from chatserver.fanout.hub import Hub

log = structlog.get_logger()


class Claims:
    """Publishes claims together: what comes while one publication runs goes with the next, one NOTIFY for many.

    Args:
        server_name: the origin of the hints.
        hub: where this server's connections are.
    """

    def __init__(self, server_name: str, hub: Hub) -> None:
        self._server_name = server_name
        self._hub = hub
        self._waiting: dict[Connection, asyncio.Future[None]] = {}
        self._publishing: asyncio.Task[None] | None = None

    async def claim(self, bus: Bus, connection: Connection) -> None:
        """Make a connection the one of its device; returns when the others were told, or cannot be told.

        To be awaited before the welcome: a device that was welcomed here and then connects elsewhere has its claims in
        that order on the bus.
        """
        self._hub.claim(connection)
        told = self._waiting[connection] = asyncio.get_running_loop().create_future()
        if self._publishing is None or self._publishing.done():
            # A task of its own: a client that goes away while it waits does not take the others' claims along.
            self._publishing = asyncio.create_task(self._publish(bus))
        await told

    async def _publish(self, bus: Bus) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            claims = tuple((connection.device_id, connection.conn_id) for connection in batch)
            try:
                # A lost claim costs a second socket of the device for a while; nobody waits for it.
                with isolated("claims_failed", connections=len(batch)):
                    await self._publish_batch(bus, batch, claims)
            finally:
                for told in batch.values():
                    if not told.done():
                        told.set_result(None)

    async def _publish_batch(self, bus: Bus, batch: Iterable[Connection], claims: tuple[tuple[int, str], ...]) -> None:
        try:
            await bus.publish(Hint(self._server_name, claims=claims))
        except ServiceUnavailable:
            log.warning("claims_dropped", connections=len(claims))
        else:
            for connection in batch:
                connection.published = True
