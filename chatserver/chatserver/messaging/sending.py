"""Sending within the sender's limit, with its result counted, for the routes and the sockets."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from chatserver.errors import ChatError, RateLimited
from chatserver.limits.rates import stored_message_bytes
from chatserver.messaging.messages import check_message, send_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.limits.rates import Limits
    from chatserver.messaging.writer import MessageWriter
    from chatserver.metrics import Metrics
    from chatserver.model import SendMessage, SentMessage
    from chatserver.storage.database import Database


class MessageSender:
    """The one way to send a message, whatever road it came."""

    def __init__(self, database: Database, writer: MessageWriter, limits: Limits, metrics: Metrics) -> None:
        self._database = database
        self._writer = writer
        self._limits = limits
        counts = metrics.messages
        self._stored, self._duplicate = counts.labels("stored"), counts.labels("duplicate")
        self._limited, self._unavailable = counts.labels("limited"), counts.labels("unavailable")
        self._rejected = counts.labels("rejected")

    async def send(self, sender_id: int, message: SendMessage) -> SentMessage:
        """Send a message; when this returns, it is committed.

        Raises:
            RateLimited: the user sends too many messages or bytes, on all their devices together.
            ChatError: as of ``send_message``.
        """
        try:
            self._limits.check_change(
                sender_id, time.monotonic(), stored_message_bytes(message.text, message.media_url)
            )
            sent = await send_message(self._database, self._writer, sender_id, message)
        except ChatError as error:
            self._count(error)
            raise
        self._count(sent)
        return sent

    def submit(
        self, sender_id: int, message: SendMessage, on_result: Callable[[SentMessage | ChatError], None]
    ) -> None:
        """Send a message that names its chat, without a task that waits for it.

        Args:
            sender_id: who sends.
            message: with a ``chat_id``.
            on_result: called once, now or later, with what ``send`` would return or raise.
        """

        def count(result: SentMessage | ChatError) -> None:
            self._count(result)
            on_result(result)

        try:
            self._limits.check_change(
                sender_id, time.monotonic(), stored_message_bytes(message.text, message.media_url)
            )
            self._writer.submit(check_message(message, sender_id, new_client_id=uuid.uuid4), count)
        except ChatError as error:
            count(error)

    def _count(self, result: SentMessage | ChatError) -> None:
        if isinstance(result, RateLimited):
            self._limited.inc()
        elif isinstance(result, ChatError):
            (self._unavailable if result.retryable else self._rejected).inc()
        else:
            (self._duplicate if result.duplicate else self._stored).inc()
