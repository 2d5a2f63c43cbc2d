"""The group-committing writer: collects the sends of this server and commits them in few transactions.

Lanes by chat: rows of one chat are always in the same lane, so that two batches of one server never wait for
each other's chat locks. Each lane commits one batch at a time, of what came while the last one ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.model import SentMessage
    from chatserver.storage.database import Database
    from chatserver.storage.messages import NewMessage


class MessageWriter:
    """Bounded queues in front of the database.

    Args:
        lanes: batches in flight at most; each takes one connection of the pool.
        queue_rows: rows waiting at most, over all lanes; beyond it a send is answered with 503.
    """

    def __init__(self, database: Database, *, lanes: int = 4, queue_rows: int = 10_000) -> None:
        self._database = database

    def start(self) -> None:
        """Start the lanes; call it in the running event loop."""
        raise NotImplementedError

    async def write(self, message: NewMessage) -> SentMessage:
        """Queue a message and wait until it is durable.

        Raises:
            ServiceUnavailable: the queue is full, the server is closing, or the database is away. The message may or
                may not be stored: the same client_id again tells.
            ChatNotFound, NotAMember, Blocked, IdempotencyConflict, ValidationFailed: refused; nothing is stored.
        """
        raise NotImplementedError

    @property
    def queued_rows(self) -> int:
        """Rows that wait or are being written."""
        raise NotImplementedError

    async def close(self, timeout_seconds: float = 10.0) -> None:
        """Take no more rows, finish the queued ones, and answer with 503 what the timeout leaves over."""
        raise NotImplementedError
