"""Subscriptions to presence: a connection gets that of the users it names, for as long as it may see them.

The relation that decides this is read together with the presence when a connection subscribes. When a block or a
membership changes, no presence of the users it concerns is sent until the relation has been read again.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from chatserver.batches import Batches
from chatserver.errors import ServiceUnavailable
from chatserver.protocol import Presence, encode_frame
from chatserver.storage import presence as storage
from chatserver.supervision import apart
from chatserver.times import rfc3339
from chatserver.visibility import may_see

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from chatserver.fanout.connection import ClientConnection
    from chatserver.fanout.hub import Hub
    from chatserver.storage.database import Database
    from chatserver.storage.presence import Watched
    from chatserver.storage.relations import Pair

# Subscriptions that one query reads, of 1,000 users each.
SUBSCRIPTIONS_TOGETHER = 8
# Wait before the next try while the database is unavailable.
RETRY_SECONDS = 1.0
# Pairs of a connection and a watched user that one query reads again: as many as subscriptions have at most.
PAIRS_TOGETHER = 8000

Doubt = tuple["ClientConnection", int]
"""A connection, and a user whom it watches."""


class _Subscribing:
    """What is in doubt since a subscription is being read: what is read may be older."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.doubted: set[int] = set()


class Watches:
    """The subscriptions of this server's connections.

    Args:
        database: where presence and relations are.
        hub: the connections of this server.
        register: has the presence of users sent to this server (``Bus.register_watched``).
    """

    def __init__(self, database: Database, hub: Hub, register: Callable[[Collection[int]], Awaitable[None]]) -> None:
        self._database = database
        self._hub = hub
        self._register = register
        self._subscriptions = Batches(self._read, most=SUBSCRIPTIONS_TOGETHER)
        # What was sent to the watchers last.
        self._sent: dict[int, bool] = {}
        self._subscribing: list[_Subscribing] = []
        # What has to be read again, and what was sent to the connection; None: it could not see the user.
        self._doubts: dict[Doubt, bool | None] = {}
        # Watched users of whom hints say that they went online or offline.
        self._turned: set[int] = set()
        self._changing = asyncio.Lock()

    # --- hints

    def receive(self, changes: Iterable[tuple[int, int]]) -> None:
        """Take the users of a hint, ``(user_id, 1 online | 0 offline)``.

        Hints of two servers between which a user moved may come in any order: what the database says counts.
        """
        for user_id, _ in changes:
            if self._hub.watching.is_watched(user_id):
                self._turned.add(user_id)
                for connection in [subscribing.connection for subscribing in self._subscribing]:
                    if user_id in connection.watched:
                        self._doubt(connection, user_id)

    def _send(self, user_id: int, *, online: bool) -> None:
        if self._hub.watching.is_watched(user_id):
            self._sent[user_id] = online
            self._hub.watching.send(user_id, encode_frame(Presence(user_id, online, None)))

    def _keep_alike(self, user_id: int, *, online: bool) -> None:
        """Send what one connection is about to get to the other watchers too, if they were sent something else.

        Their hint may still be on its way, and what was sent last is kept for all of them together.
        """
        if self._sent.get(user_id, online) is not online:
            self._send(user_id, online=online)
        self._sent[user_id] = online

    def doubt_pairs(self, pairs: Iterable[Pair]) -> None:
        """Hide users from each other until they are read again: one of each two blocked or unblocked the other."""
        for user_id, other_id in pairs:
            self._hub.forget_members_between(user_id, other_id)
            for watched_id, watcher_id in ((user_id, other_id), (other_id, user_id)):
                for connection in self._hub.watching.watchers(watched_id):
                    if connection.user_id == watcher_id:
                        self._doubt(connection, watched_id)

    def doubt_watched(self, user_ids: Iterable[int]) -> None:
        """Hide users from their watchers until they are read again: who may see them may have changed."""
        for user_id in user_ids:
            for connection in self._hub.watching.watchers(user_id):
                self._doubt(connection, user_id)

    def doubt_users(self, user_ids: Iterable[int]) -> None:
        """Hide users and their watchers from each other until they are read again: they joined or left a chat."""
        for user_id in user_ids:
            self.doubt_watched((user_id,))
            for connection in self._hub.registry.by_user.get(user_id, ()):
                for watched_id in connection.watched:
                    self._doubt(connection, watched_id)

    def _doubt(self, connection: ClientConnection, user_id: int) -> None:
        for subscribing in self._subscribing:
            if subscribing.connection is connection:
                subscribing.doubted.add(user_id)
        was_visible = self._hub.watching.show(connection, user_id, visible=False)
        sent = self._sent.get(user_id, False) if was_visible else None
        self._doubts.setdefault((connection, user_id), sent)

    # --- reads

    async def settle(self) -> None:
        """Read again who turned and what is in doubt, and send what changed.

        Raises:
            ServiceUnavailable: the database is unavailable; users in doubt stay hidden.
        """
        for user_id in await apart("presence_not_sent", sorted(self._turned), self._send_turned):
            self._turned.discard(user_id)
        while self._doubts:
            chunk = list(itertools.islice(self._doubts, PAIRS_TOGETHER))
            for doubt in await apart("watches_not_settled", chunk, self._settle):
                self._doubts.pop(doubt, None)

    async def _send_turned(self, user_ids: Sequence[int]) -> None:
        # A hint that comes meanwhile may be newer than what is read.
        self._turned.difference_update(user_ids)
        try:
            await self._send_states(user_ids)
        except BaseException:
            self._turned.update(user_ids)
            raise

    async def _settle(self, chunk: Sequence[Doubt]) -> None:
        taken = {doubt: self._doubts.pop(doubt) for doubt in chunk if doubt in self._doubts}
        try:
            found = await self._read_pairs([(connection.user_id, user_id) for connection, user_id in taken])
        except BaseException:
            self._doubts = {**taken, **self._doubts}
            raise
        for (connection, user_id), sent in taken.items():
            if (connection, user_id) in self._doubts:
                # In doubt again since: what was sent before the first time counts.
                self._doubts[connection, user_id] = sent
            elif user_id in connection.watched:
                self._settle_one(connection, user_id, found.get((connection.user_id, user_id)), sent=sent)

    def _settle_one(
        self, connection: ClientConnection, user_id: int, watched: Watched | None, *, sent: bool | None
    ) -> None:
        visible = watched is not None and may_see("online", watched.relation)
        online = visible and watched is not None and self._is_online(user_id, watched)
        if visible:
            self._keep_alike(user_id, online=online)
        self._hub.watching.show(connection, user_id, visible=visible)
        if online is not (sent or False) or (visible and sent is None):
            connection.outbox.put(encode_frame(_frame(user_id, watched, online=online)))

    def _is_online(self, user_id: int, watched: Watched) -> bool:
        return watched.state.online or self._hub.registry.is_here(user_id)

    async def subscribe(self, connection: ClientConnection, user_ids: frozenset[int]) -> None:
        """Send the presence of the users whom a connection watches, once; changes follow by ``receive``."""
        subscribing = _Subscribing(connection)
        self._subscribing.append(subscribing)
        try:
            found = await self._watched(connection, user_ids)
            for user_id in sorted(user_ids & found.keys()):
                await connection.outbox.room()
                if connection.watched is not user_ids:
                    return
                # In doubt since: sent when that is settled.
                if user_id in subscribing.doubted:
                    continue
                watched = found[user_id]
                visible = may_see("online", watched.relation)
                online = visible and self._is_online(user_id, watched)
                if visible:
                    self._keep_alike(user_id, online=online)
                self._hub.watching.show(connection, user_id, visible=visible)
                connection.outbox.put(encode_frame(_frame(user_id, watched, online=online)))
        finally:
            self._subscribing = [other for other in self._subscribing if other is not subscribing]

    async def _watched(self, connection: ClientConnection, user_ids: frozenset[int]) -> Mapping[int, Watched]:
        # Until another subscription replaces this one.
        while connection.outbox.order is None and connection.watched is user_ids:
            try:
                return await self._subscriptions.submit((connection.user_id, user_ids))
            except ServiceUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
        return {}

    async def _read(self, subscriptions: Sequence[tuple[int, frozenset[int]]]) -> list[dict[int, Watched]]:
        pairs: list[Pair] = [(viewer_id, user_id) for viewer_id, user_ids in subscriptions for user_id in user_ids]
        found = await self._read_pairs(pairs)
        return [
            {user_id: found[viewer_id, user_id] for user_id in user_ids if (viewer_id, user_id) in found}
            for viewer_id, user_ids in subscriptions
        ]

    async def _read_pairs(self, pairs: Sequence[Pair]) -> dict[Pair, Watched]:
        # What is committed after the query's snapshot is hinted after this line, and to this server.
        await self._register({user_id for _, user_id in pairs})
        return await storage.watched(self._database, pairs)

    async def recover(self) -> None:
        """Send what changed since hints were lost.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        for connection, user_id in self._hub.watching.pairs():
            self._doubt(connection, user_id)
        await self.settle()

    async def send_changed(self, user_ids: Iterable[int]) -> None:
        """Send the presence of these users to their watchers where it differs from what was sent last."""
        await self._send_states(user_ids, but=self._sent)

    async def _send_states(self, user_ids: Iterable[int], *, but: Mapping[int, bool] | None = None) -> None:
        """Send the presence of these users to their watchers, but not where it is known to be what was sent last.

        Without `but`, it is sent to all: what was sent last may have been sent to one connection alone.
        """
        watched = [user_id for user_id in user_ids if self._hub.watching.is_watched(user_id)]
        if not watched:
            return
        # One after the other: what is read later is newer.
        async with self._changing:
            for user_id, state in (await storage.states(self._database, watched)).items():
                online = state.online or self._hub.registry.is_here(user_id)
                if but is None or but.get(user_id, online) is not online:
                    self._send(user_id, online=online)

    def forget_unwatched(self) -> None:
        """Forget what was sent of users whom nobody watches any more."""
        self._sent = {
            user_id: online for user_id, online in self._sent.items() if self._hub.watching.is_watched(user_id)
        }


def _frame(user_id: int, watched: Watched | None, *, online: bool) -> Presence:
    """Return a user's presence as a viewer sees it; a hidden one looks like that of an unknown user."""
    if watched is None or watched.state.last_seen_us is None or not may_see("last_seen", watched.relation):
        return Presence(user_id, online, None)
    return Presence(user_id, online, rfc3339(watched.state.last_seen_us))
