"""Sending with its result counted, for the routes and the sockets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatserver.errors import ChatError, RateLimited
from chatserver.services.messages import send_message

if TYPE_CHECKING:
    from chatserver.metrics import Metrics
    from chatserver.model import SendMessage, SentMessage
    from chatserver.services.limits import Limits
    from chatserver.services.writer import MessageWriter
    from chatserver.storage.database import Database


async def send_counted(
    database: Database,
    writer: MessageWriter,
    limits: Limits,
    metrics: Metrics,
    sender_id: int,
    message: SendMessage,
) -> SentMessage:
    """Send a message within the sender's limit and count the result.

    Raises:
        RateLimited: the user sends too many messages, whatever road they take.
        ChatError: as of ``send_message``.
    """
    try:
        limits.check_message(sender_id, time.monotonic())
        sent = await send_message(database, writer, sender_id, message)
    except RateLimited:
        metrics.messages.labels("limited").inc()
        raise
    except ChatError as error:
        metrics.messages.labels("unavailable" if error.retryable else "rejected").inc()
        raise
    metrics.messages.labels("duplicate" if sent.duplicate else "stored").inc()
    return sent
