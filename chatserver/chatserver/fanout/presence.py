"""Who is online: written by the server that has the connections, and cleared by the others when that server is gone.

A user is online from their first connection to any server to the end of the last one. Each server writes the changes
of its own connections in their order; the others clear what a killed server left.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import ServiceUnavailable
from chatserver.storage import presence as storage
from chatserver.supervision import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.fanout.watches import Watches
    from chatserver.storage.database import Database

log = structlog.get_logger()

# Changes are collected for a second, so that the restart of a server is a few hints instead of thousands, and a user
# who reconnects meanwhile stays online.
PRESENCE_SECONDS = 1.0
# Interval of comparing what is written with the connections: they differ after an outage, or a restart under the same
# name.
COMPARE_SECONDS = 30.0
# Users of one transaction, which locks their rows for about 10 ms.
USERS_TOGETHER = 500


class PresenceWriter:
    """Writes the presence of this server's users.

    Args:
        database: where all servers write.
        hub: the connections of this server.
        watches: sends changes to the subscribed connections.
        clock: monotonic seconds.
    """

    def __init__(
        self, database: Database, hub: Hub, watches: Watches, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._hub = hub
        self._watches = watches
        self._clock = clock
        self._changes: dict[int, bool] = {}
        # Users who disconnected before their connection was written: no hint says so, yet it may have been sent to a
        # subscriber.
        self._unwritten: set[int] = set()
        self._compare_at = clock()
        self._sweep_at = clock()
        # Servers without a heartbeat, and since when.
        self._gone: dict[str, float] = {}

    def came(self, user_id: int) -> None:
        """Announce soon that a user is online."""
        self._changes[user_id] = True

    def went(self, user_id: int) -> None:
        """Announce soon that a user went offline, unless they have another connection here."""
        if not self._hub.registry.is_here(user_id):
            if self._changes.get(user_id):
                self._unwritten.add(user_id)
            self._changes[user_id] = False

    async def run(self, gone_seconds: float) -> None:
        """Write and announce changes, and clear those of servers that are gone, until cancelled.

        Args:
            gone_seconds: time without a heartbeat after which the users of a server count as offline; long enough that
                all servers have sent one after an outage of the database.
        """
        while True:
            await asyncio.sleep(PRESENCE_SECONDS)
            try:
                await self._compare()
                await self.flush()
                await self._sweep(gone_seconds)
            except ServiceUnavailable:
                log.debug("presence_waits_for_database", users=len(self._changes))

    async def flush(self) -> None:
        """Write the changes.

        Raises:
            ServiceUnavailable: the database is unavailable; the remaining changes wait.
        """
        while self._changes:
            chunk = list(itertools.islice(self._changes.items(), USERS_TOGETHER))
            # The next comparison repeats what could not be written.
            await apart("presence_not_written", chunk, self._write_own)
            for user_id, online in chunk:
                if self._changes.get(user_id) is online:
                    del self._changes[user_id]
        unwritten = set(self._unwritten)
        await self._watches.send_changed(unwritten)
        self._unwritten -= unwritten

    async def _compare(self) -> None:
        if self._clock() < self._compare_at:
            return
        written = set(await storage.users_at(self._database, self._database.server_name))
        here = {user_id for user_id in self._hub.following.users() if self._hub.registry.is_here(user_id)}
        self._changes |= dict.fromkeys(here - written, True) | dict.fromkeys(written - here, False)
        self._watches.forget_unwatched()
        self._compare_at = self._clock() + COMPARE_SECONDS

    async def _write_own(self, changes: Sequence[tuple[int, bool]]) -> None:
        came = [user_id for user_id, online in changes if online]
        went = [user_id for user_id, online in changes if not online]
        await storage.turn(self._database, self._database.server_name, came=came, went=went)

    async def _sweep(self, gone_seconds: float) -> None:
        """Clear the presence that killed servers left."""
        now = self._clock()
        if now < self._sweep_at:
            return
        self._sweep_at = now + gone_seconds / 3
        missing = set(await storage.servers_gone(self._database)) - {self._database.server_name}
        self._gone = {server_name: self._gone.get(server_name, now) for server_name in missing}
        for server_name, since in self._gone.items():
            if now - since >= gone_seconds:
                log.info("presence_taken_back", of=server_name)
                while users := await storage.users_at(self._database, server_name, USERS_TOGETHER):
                    await storage.turn(self._database, server_name, came=(), went=users)
