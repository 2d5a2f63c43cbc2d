"""Sending with its result counted, for the routes and the sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.errors import ChatError
from chatserver.services.messages import send_message

if TYPE_CHECKING:
    from chatserver.metrics import Metrics
    from chatserver.model import SendMessage, SentMessage
    from chatserver.services.writer import MessageWriter
    from chatserver.storage.database import Database


async def send_counted(
    database: Database, writer: MessageWriter, metrics: Metrics, sender_id: int, message: SendMessage
) -> SentMessage:
    """Send a message and count the result; raises as of ``send_message``."""
    try:
        sent = await send_message(database, writer, sender_id, message)
    except ChatError as error:
        metrics.messages.labels("unavailable" if error.retryable else "rejected").inc()
        raise
    metrics.messages.labels("duplicate" if sent.duplicate else "stored").inc()
    return sent
