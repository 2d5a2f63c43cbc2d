"""Connections of some users who follow a chat, for tests of what a batch leads to on their server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.hub import Hub
from chatserver.fanout.pending_rows import PendingRows
from chatserver.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

CHAT, ANA, BOB, EVE = 10, 1, 2, 3


class Listening:
    """One server, without its loops.

    Args:
        user_ids: who is connected and follows the chat.
        last_seq: its last row that all of them have.
        needed_after: as of `PendingRows`; None: what the hub says.

    Attributes:
        woken: how often the delivery loop was to run.
        pending: what is left to be read.
    """

    def __init__(
        self, *user_ids: int, last_seq: int = 0, needed_after: Callable[[int], int | None] | None = None
    ) -> None:
        self.hub = Hub()
        self.connections = [ClientConnection(f"c{user_id}", user_id, user_id) for user_id in user_ids]
        for connection in self.connections:
            self.hub.add(connection)
            self.hub.following.follow(connection.user_id, CHAT, last_seq)
        self.woken = 0
        self.pending = PendingRows(needed_after or self.hub.following.needed_after, self._wake)
        self.metrics = Metrics().delivery

    def _wake(self) -> None:
        self.woken += 1

    def got(self) -> list[list[int]]:
        """Return the rows that each connection got since."""
        return [seqs(connection) for connection in self.connections]


def seqs(connection: ClientConnection) -> list[int]:
    """Return the rows that a connection got since."""
    return [json.loads(frame)["message"]["seq"] for frame in connection.outbox.take()]
