"""Sending a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.model import SendMessage, SentMessage
    from chatserver.services.writer import MessageWriter
    from chatserver.storage.database import Database


async def send_message(database: Database, writer: MessageWriter, sender_id: int, message: SendMessage) -> SentMessage:
    """Store a message and hint it to all servers; when this returns, it is committed.

    The first message to a user makes the direct chat. A message to oneself goes to a direct chat with one member.
    The same client_id again in the same chat returns the first result with `duplicate`.

    Raises:
        ValidationFailed: a field is wrong; `errors` names it.
        UserNotFound, ChatNotFound, NotAMember, Blocked, IdempotencyConflict, ServiceUnavailable.
    """
    raise NotImplementedError
