"""Users of this server who joined or left chats: they follow the chats they joined from their first row there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.messaging import sync
from chatserver.supervision import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.fanout.pending_rows import PendingRows
    from chatserver.hints import MembershipChange
    from chatserver.storage.database import Database

NEW_CHAT_ROWS = 100
"""Rows that are delivered of a chat which a user joins, or which recovery finds; clients fetch older ones."""


class Joining:
    """Membership changes that the hub does not know yet.

    Args:
        database: where memberships and the last numbers of chats are.
        hub: the connections of this server.
        pending: the chats with rows to deliver.
        on_failed: called when changes of a chat cannot be delivered; recovery then reads who joined what.
    """

    def __init__(self, database: Database, hub: Hub, pending: PendingRows, on_failed: Callable[[], None]) -> None:
        self._database = database
        self._hub = hub
        self._pending = pending
        self._on_failed = on_failed
        self._changed: dict[int, set[int]] = {}
        # By user and chat: the seq after which the user gets rows of a chat that recovery found.
        self._found: dict[tuple[int, int], int] = {}

    def receive(self, changes: Iterable[MembershipChange]) -> None:
        """Take the membership changes of a hint."""
        for change in changes:
            self._changed.setdefault(change.chat_id, set()).update(change.user_ids)

    def found(self, user_id: int, chat_id: int, after_seq: int) -> None:
        """Have a user follow a chat in the next round."""
        self._found[user_id, chat_id] = after_seq

    def found_chats(self) -> set[int]:
        """Return the chats that recovery found and that are not followed yet."""
        return {chat_id for _, chat_id in self._found}

    async def deliver(self) -> None:
        """Have the hub follow what users joined, between two rounds of rows: a round knows only its first followers.

        Raises:
            ServiceUnavailable: the database is unavailable; the rest waits.
        """
        found, self._found = self._found, {}
        for (user_id, chat_id), after_seq in found.items():
            self._join(user_id, chat_id, after_seq)
        if await apart("membership_not_delivered", list(self._changed), self._deliver):
            self._on_failed()
        # A failed chat is kept only as long as one of its users is here.
        self._changed = {
            chat_id: left
            for chat_id, user_ids in self._changed.items()
            if (left := set(self._hub.following.known_users(user_ids)))
        }

    async def _deliver(self, chat_ids: Sequence[int]) -> None:
        taken = {chat_id: self._changed.pop(chat_id) for chat_id in chat_ids}
        joined = {
            (user_id, chat_id)
            for chat_id, user_ids in taken.items()
            for user_id in self._hub.following.known_users(user_ids)
            if not self._hub.following.follows(user_id, chat_id)
        }
        try:
            found = await sync.joined(self._database, joined)
        except BaseException:
            for chat_id, user_ids in taken.items():
                self._changed.setdefault(chat_id, set()).update(user_ids)
            raise
        for chat_id in chat_ids:
            self._hub.members.forget(chat_id)
        for (user_id, chat_id), (joined_seq, last_seq) in found.items():
            # Hints of rows may have come before the one of joining, and were needed by nobody here.
            self._pending.reach(chat_id, last_seq)
            self._join(user_id, chat_id, max(joined_seq, last_seq - NEW_CHAT_ROWS))

    def _join(self, user_id: int, chat_id: int, after_seq: int) -> None:
        self._hub.join(user_id, chat_id, after_seq)
        # Rows of own batches that the other followers already have are no longer hinted.
        self._pending.reach(chat_id, self._hub.following.pushed_seq(chat_id))
