"""Delivery of changed profiles to users who share a chat with their owner, as each may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.messaging import sync
from chatserver.protocol import Profile, encode_frame
from chatserver.storage import accounts, relations
from chatserver.supervision import apart
from chatserver.users.viewers import view_user
from chatserver.visibility import may_see

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.storage.database import Database


class Profiles:
    """Users whose profile changed.

    Args:
        database: where profiles and memberships are.
        hub: the connections of this server.
    """

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._changed: set[int] = set()

    def receive(self, user_ids: Iterable[int]) -> None:
        """Take the users of a hint."""
        self._changed.update(user_ids)

    async def deliver(self) -> None:
        """Send the changed profiles; one that changed several times meanwhile is sent once.

        Raises:
            ServiceUnavailable: the database is unavailable; what waits stays queued.
        """
        if not self._changed:
            return
        for user_id in await apart("profiles_not_delivered", sorted(self._changed), self._deliver):
            self._changed.discard(user_id)

    async def _deliver(self, user_ids: Sequence[int]) -> None:
        chats = await sync.positions(self._database, user_ids)
        pairs = [
            (viewer_id, user_id)
            for user_id in user_ids
            for viewer_id in self._hub.following.followers(chats[user_id])
            # Their own devices get a row in the chat with themselves.
            if viewer_id != user_id and self._hub.registry.is_here(viewer_id)
        ]
        users = {user.user_id: user for user in await accounts.users_by_id(self._database, user_ids)} if pairs else {}
        found = await relations.relations(self._database, pairs)
        self._changed.difference_update(user_ids)
        for (viewer_id, user_id), relation in found.items():
            if user_id in users and may_see("profile_changes", relation):
                view = view_user(users[user_id], relation)
                frame = Profile(
                    user_id, view["username"], view["profile_picture_url"], view["about"], view["phone_number"]
                )
                self._hub.registry.send_to((viewer_id,), encode_frame(frame))
