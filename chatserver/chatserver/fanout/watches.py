"""Whose presence is sent to this server's connections: of those they name and may see, for as long as they may.

Whether somebody may be seen is read with where they stand, when a connection subscribes. When a block or a membership
changes, nothing more is sent about the users whom it concerns until they have been read again.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from chatserver.batches import Batches
from chatserver.errors import ServiceUnavailable
from chatserver.protocol import Presence as PresenceFrame
from chatserver.protocol import encode_frame
from chatserver.storage import presence as storage
from chatserver.supervision import apart
from chatserver.times import rfc3339
from chatserver.visibility import may_see

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chatserver.fanout.connection import Connection
    from chatserver.fanout.hub import Hub
    from chatserver.storage.database import Database
    from chatserver.storage.presence import Watched
    from chatserver.storage.relations import Pair

# Subscriptions that are answered by one query, of 1,000 users each.
SUBSCRIPTIONS_TOGETHER = 8
# Between tries to answer one while the database is unavailable.
RETRY_SECONDS = 1.0
# Connections and watched users that are read anew by one query: as many as subscriptions have at most.
PAIRS_TOGETHER = 8000

Doubt = tuple["Connection", int]
"""A connection, and a user whom it watches."""


class _Asking:
    """What was heard while a subscription is being answered: it is newer than what was read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.online: dict[int, bool] = {}
        self.doubted: set[int] = set()


class Watches:
    """Who watches whom on this server.

    Args:
        database: where it is read.
        hub: this server's connections.
    """

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._subscriptions = Batches(self._read, most=SUBSCRIPTIONS_TOGETHER)
        # What the watchers were told last.
        self._told: dict[int, bool] = {}
        self._asking: list[_Asking] = []
        # Who has to be read anew, and what the connection was told of them; None: it could not see them.
        self._doubts: dict[Doubt, bool | None] = {}

    # --- what is heard

    def hear(self, changes: Iterable[tuple[int, int]]) -> None:
        """Take what a hint says, ``(user_id, 1 online | 0 offline)``, and tell the watchers here."""
        for user_id, turned_online in changes:
            online = bool(turned_online) or self._hub.is_here(user_id)
            for asking in self._asking:
                asking.online[user_id] = online
            self._tell(user_id, online=online)

    def _tell(self, user_id: int, *, online: bool) -> None:
        if self._hub.watching.is_watched(user_id):
            self._told[user_id] = online
            self._hub.watching.tell(user_id, encode_frame(PresenceFrame(user_id, online, None)))

    def doubt_pairs(self, pairs: Iterable[Pair]) -> None:
        """Hide users from each other until they are read anew: one of each two has blocked the other, or no longer."""
        for user_id, other_id in pairs:
            self._hub.forget_members_between(user_id, other_id)
            for watched_id, watcher_id in ((user_id, other_id), (other_id, user_id)):
                for connection in self._hub.watching.watchers(watched_id):
                    if connection.user_id == watcher_id:
                        self._doubt(connection, watched_id)

    def doubt_users(self, user_ids: Iterable[int]) -> None:
        """Hide users from their watchers, and from them whom they watch, until read anew: they joined or left."""
        for user_id in user_ids:
            for connection in self._hub.watching.watchers(user_id):
                self._doubt(connection, user_id)
            for connection in self._hub.connections_of(user_id):
                for watched_id in connection.watched:
                    self._doubt(connection, watched_id)

    def _doubt(self, connection: Connection, user_id: int) -> None:
        for asking in self._asking:
            if asking.connection is connection:
                asking.doubted.add(user_id)
        was_visible = self._hub.watching.show(connection, user_id, visible=False)
        told = self._told.get(user_id, False) if was_visible else None
        self._doubts.setdefault((connection, user_id), told)

    # --- what is read

    async def settle(self) -> None:
        """Read again who is in doubt, and send what has changed by that.

        Raises:
            ServiceUnavailable: the database is unavailable; they stay hidden.
        """
        while self._doubts:
            chunk = list(itertools.islice(self._doubts, PAIRS_TOGETHER))
            for doubt in await apart("watches_not_settled", chunk, self._settle):
                self._doubts.pop(doubt, None)

    async def _settle(self, chunk: Sequence[Doubt]) -> None:
        taken = {doubt: self._doubts.pop(doubt) for doubt in chunk if doubt in self._doubts}
        try:
            found = await storage.watched(
                self._database, [(connection.user_id, user_id) for connection, user_id in taken]
            )
        except BaseException:
            self._doubts = {**taken, **self._doubts}
            raise
        for (connection, user_id), told in taken.items():
            if (connection, user_id) in self._doubts:
                # Doubted once more since: what was told before the first time counts.
                self._doubts[connection, user_id] = told
            elif user_id in connection.watched:
                self._settle_one(connection, user_id, told, found.get((connection.user_id, user_id)))

    def _settle_one(self, connection: Connection, user_id: int, told: bool | None, watched: Watched | None) -> None:  # noqa: FBT001 - a value of three
        visible = watched is not None and may_see("online", watched.relation)
        self._hub.watching.show(connection, user_id, visible=visible)
        online = visible and watched is not None and self._is_online(user_id, watched)
        if visible:
            self._told[user_id] = online
        if online is not (told or False) or (visible and told is None):
            connection.outbox.put(encode_frame(_frame(user_id, watched, online=online)))

    def _is_online(self, user_id: int, watched: Watched) -> bool:
        return watched.state.online or self._hub.is_here(user_id)

    async def subscribe(self, connection: Connection, user_ids: frozenset[int]) -> None:
        """Tell a connection once where the users stand whom it watches; changes follow by ``hear``."""
        asking = _Asking(connection)
        self._asking.append(asking)
        try:
            found = await self._watched(connection, user_ids)
            for user_id in sorted(user_ids & found.keys()):
                await connection.outbox.room()
                if connection.watched is not user_ids:
                    return
                # Who is in doubt since is told of when that is settled.
                if user_id in asking.doubted:
                    continue
                watched = found[user_id]
                visible = may_see("online", watched.relation)
                self._hub.watching.show(connection, user_id, visible=visible)
                online = visible and asking.online.get(user_id, self._is_online(user_id, watched))
                if visible:
                    self._told[user_id] = online
                connection.outbox.put(encode_frame(_frame(user_id, watched, online=online)))
        finally:
            self._asking = [other for other in self._asking if other is not asking]

    async def _watched(self, connection: Connection, user_ids: frozenset[int]) -> Mapping[int, Watched]:
        # Until another subscription has replaced this one.
        while connection.outbox.order is None and connection.watched is user_ids:
            try:
                return await self._subscriptions.submit((connection.user_id, user_ids))
            except ServiceUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
        return {}

    async def _read(self, subscriptions: Sequence[tuple[int, frozenset[int]]]) -> list[dict[int, Watched]]:
        pairs: list[Pair] = [(viewer_id, user_id) for viewer_id, user_ids in subscriptions for user_id in user_ids]
        found = await storage.watched(self._database, pairs)
        return [
            {user_id: found[viewer_id, user_id] for user_id in user_ids if (viewer_id, user_id) in found}
            for viewer_id, user_ids in subscriptions
        ]

    async def heal(self) -> None:
        """Tell what has changed since hints were lost.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        for connection, user_id in self._hub.watching.pairs():
            self._doubt(connection, user_id)
        await self.settle()

    async def tell_changed(self, user_ids: Iterable[int]) -> None:
        """Tell the watchers of these users where they stand, if it is not what they were told last."""
        watched = [user_id for user_id in user_ids if self._hub.watching.is_watched(user_id)]
        found = await storage.states(self._database, watched) if watched else {}
        for user_id, stand in found.items():
            online = stand.online or self._hub.is_here(user_id)
            if self._told.get(user_id, online) is not online:
                self._tell(user_id, online=online)

    def forget_unwatched(self) -> None:
        """Forget what was told of users whom nobody watches any more."""
        self._told = {
            user_id: online for user_id, online in self._told.items() if self._hub.watching.is_watched(user_id)
        }


def _frame(user_id: int, watched: Watched | None, *, online: bool) -> PresenceFrame:
    """Return a user's presence as a viewer sees it; hidden, it is that of somebody of whom nothing is known."""
    if watched is None or watched.state.last_seen_us is None or not may_see("last_seen", watched.relation):
        return PresenceFrame(user_id, online, None)
    return PresenceFrame(user_id, online, rfc3339(watched.state.last_seen_us))
