"""Whose presence each connection of this server is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.connection import Connection


class Watching:
    """Index of connections by the users they watch."""

    def __init__(self) -> None:
        self._watchers: dict[int, set[Connection]] = {}

    def watch(self, connection: Connection, user_ids: frozenset[int]) -> None:
        """Tell this connection the presence of exactly these users from now on."""
        for user_id in connection.watched - user_ids:
            watchers = self._watchers[user_id]
            watchers.discard(connection)
            if not watchers:
                del self._watchers[user_id]
        for user_id in user_ids - connection.watched:
            self._watchers.setdefault(user_id, set()).add(connection)
        connection.watched = user_ids

    def is_watched(self, user_id: int) -> bool:
        """Whether anybody here is told of the user's presence."""
        return user_id in self._watchers

    def users(self) -> list[int]:
        """Return all users whose presence somebody here is told."""
        return list(self._watchers)

    def tell(self, user_id: int, frame: bytes) -> None:
        """Queue a presence frame to those who watch the user."""
        for connection in self._watchers.get(user_id, ()):
            connection.outbox.put(frame)
