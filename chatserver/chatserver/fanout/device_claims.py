"""Announces to all servers that a device has connected, so that its older connection closes, wherever it is (4009)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.hints import Hint
from chatserver.supervision import isolated

if TYPE_CHECKING:
    from collections.abc import Collection

    from chatserver.fanout.bus import Bus
    from chatserver.fanout.connection import ClientConnection
    from chatserver.fanout.hub import Hub

log = structlog.get_logger()


class DeviceClaims:
    """Publishes claims in batches: those that arrive while one is published form the next, one NOTIFY for all.

    Args:
        server_name: the origin of the hints.
        hub: the connections of this server.
    """

    def __init__(self, server_name: str, hub: Hub) -> None:
        self._server_name = server_name
        self._hub = hub
        self._waiting: dict[ClientConnection, asyncio.Future[None]] = {}
        self._publishing: asyncio.Task[None] | None = None

    async def claim(self, bus: Bus, connection: ClientConnection) -> None:
        """Make a connection its device's; returns when the claim is published, or cannot be.

        To be awaited before the welcome: a device that was welcomed here and then connects to another server has its
        claims in that order on the bus.
        """
        self._hub.registry.claim(connection)
        published = self._waiting[connection] = asyncio.get_running_loop().create_future()
        if self._publishing is None or self._publishing.done():
            # A separate task: a client that disconnects while it waits must not cancel the claims of others.
            self._publishing = asyncio.create_task(self._publish(bus))
        await published

    async def _publish(self, bus: Bus) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            claims = tuple((connection.device_id, connection.conn_id) for connection in batch)
            try:
                # A lost claim costs a second connection of the device for a while; it is not retried.
                with isolated("claims_failed", connections=len(batch)):
                    await self._publish_batch(bus, batch, claims)
            finally:
                for published in batch.values():
                    if not published.done():
                        published.set_result(None)

    async def _publish_batch(
        self, bus: Bus, batch: Collection[ClientConnection], claims: tuple[tuple[int, str], ...]
    ) -> None:
        try:
            hint = Hint(self._server_name, claims=claims, to=tuple({connection.user_id for connection in batch}))
            await bus.publish([hint])
        except ServiceUnavailable:
            log.warning("claims_dropped", connections=len(claims))
        else:
            for connection in batch:
                connection.published = True
