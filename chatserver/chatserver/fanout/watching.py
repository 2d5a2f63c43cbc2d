"""Whose presence each connection of this server gets: whom it watches, and which of them it may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatserver.fanout.connection import Connection


class Watching:
    """Index of connections by the users they watch.

    A connection gets nothing about a user before ``show`` says that it may see them.
    """

    def __init__(self) -> None:
        # Whether the connection may see the user.
        self._watchers: dict[int, dict[Connection, bool]] = {}

    def watch(self, connection: Connection, user_ids: frozenset[int]) -> None:
        """Let this connection watch exactly these users from now on; those it watched before stay as they were."""
        for user_id in connection.watched - user_ids:
            watchers = self._watchers[user_id]
            watchers.pop(connection, None)
            if not watchers:
                del self._watchers[user_id]
        for user_id in user_ids - connection.watched:
            self._watchers.setdefault(user_id, {})[connection] = False
        connection.watched = user_ids

    def show(self, connection: Connection, user_id: int, *, visible: bool) -> bool:
        """Say whether a connection may see a user whom it watches; returns whether it could before."""
        watchers = self._watchers.get(user_id)
        if watchers is None or connection not in watchers:
            return False
        before, watchers[connection] = watchers[connection], visible
        return before

    def watchers(self, user_id: int) -> list[Connection]:
        """Return the connections that watch a user, whether they may see them or not."""
        return list(self._watchers.get(user_id, ()))

    def pairs(self) -> Iterator[tuple[Connection, int]]:
        """Return who watches whom."""
        for user_id, watchers in list(self._watchers.items()):
            for connection in list(watchers):
                yield connection, user_id

    def is_watched(self, user_id: int) -> bool:
        """Whether anybody here watches the user."""
        return user_id in self._watchers

    def tell(self, user_id: int, frame: bytes) -> None:
        """Queue a presence frame to those who watch the user and may see them."""
        for connection, visible in self._watchers.get(user_id, {}).items():
            if visible:
                connection.outbox.put(frame)
