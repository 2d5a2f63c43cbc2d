"""Syncs a new connection until no rows are missing."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from chatcluster_client.backoff import around
from chatcluster_client.frames import Synced
from chatcluster_client.healing import Healer
from chatcluster_client.order import RowOrder


class Syncer:
    """The syncs of one client.

    Args:
        order: What has been handed on.
        healer: Brings by REST what a sync does not.
        transmit: Gives a frame to the connection; does nothing without one.
        spawn: Starts a supervised task.
    """

    def __init__(
        self,
        order: RowOrder,
        healer: Healer,
        transmit: Callable[[dict[str, Any]], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._order = order
        self._healer = healer
        self._transmit = transmit
        self._spawn = spawn
        self._reached = -1

    async def begin(self, most_chats: int | None) -> None:
        """Sync a new connection.

        Args:
            most_chats: That one sync may name; None: the server names no limit.
        """
        self._reached = -1
        if most_chats is not None and len(self._order.have) > most_chats:
            # A sync that names only some chats returns all others from their beginning.
            self._spawn(self._healer.fill_all())
        else:
            await self._sync()

    async def sync_after(self, seconds: float) -> None:
        """Sync again after about this time: the server was busy."""
        await asyncio.sleep(around(seconds, random.random()))  # noqa: S311 - jitter, not a secret
        await self._sync()

    def synced(self, synced: Synced) -> None:
        """Handle the end of a sync: missing rows come by another one, or by REST."""
        if synced.more:
            self._spawn(self._sync_on())
            return
        for chat in synced.chats:
            self._healer.fill_up_to(chat.chat_id, chat.last_seq)

    async def _sync(self) -> None:
        await self._transmit(
            {"type": "sync", "chats": {str(chat_id): seq for chat_id, seq in self._order.have.items()}}
        )

    async def _sync_on(self) -> None:
        # A sync would return a chat with a gap from before the gap again.
        await self._healer.settled()
        reached = sum(self._order.have.values())
        if reached > self._reached:
            self._reached = reached
            await self._sync()
        else:
            # Another sync would return the same rows.
            await self._healer.fill_all()
