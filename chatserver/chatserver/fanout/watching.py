"""Which users each connection of this server watches, and which of them it may see. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatserver.fanout.connection import ClientConnection


class Watching:
    """Index of connections by the users they watch.

    A connection gets nothing about a user before ``show`` says that it may see them.
    """

    def __init__(self) -> None:
        # Whether the connection may see the user.
        self._watchers: dict[int, dict[ClientConnection, bool]] = {}

    def watch(self, connection: ClientConnection, user_ids: frozenset[int]) -> None:
        """Have a connection watch exactly these users; whether it may see those it watched before stays as it was."""
        for user_id in connection.watched - user_ids:
            watchers = self._watchers[user_id]
            watchers.pop(connection, None)
            if not watchers:
                del self._watchers[user_id]
        for user_id in user_ids - connection.watched:
            self._watchers.setdefault(user_id, {})[connection] = False
        connection.watched = user_ids

    def show(self, connection: ClientConnection, user_id: int, *, visible: bool) -> bool:
        """Set whether a connection may see a user whom it watches; returns whether it could before."""
        watchers = self._watchers.get(user_id)
        if watchers is None or connection not in watchers:
            return False
        before, watchers[connection] = watchers[connection], visible
        return before

    def watchers(self, user_id: int) -> list[ClientConnection]:
        """Return the connections that watch a user, whether they may see them or not."""
        return list(self._watchers.get(user_id, ()))

    def pairs(self) -> Iterator[tuple[ClientConnection, int]]:
        """Return each connection with each user whom it watches."""
        for user_id, watchers in list(self._watchers.items()):
            for connection in list(watchers):
                yield connection, user_id

    def users(self) -> list[int]:
        """Return all users whom a connection here watches."""
        return list(self._watchers)

    def is_watched(self, user_id: int) -> bool:
        """Return whether a connection here watches the user."""
        return user_id in self._watchers

    def send(self, user_id: int, frame: bytes) -> None:
        """Queue a presence frame to the connections that watch a user and may see them."""
        for connection, visible in self._watchers.get(user_id, {}).items():
            if visible:
                connection.outbox.put(frame)
