"""Sending of messages: rate limits, validation, the direct chat of a first message, and the writer."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from msgspec.structs import replace

from chatserver import checks
from chatserver.errors import Blocked, ChatError, InternalError, UserNotFound, ValidationFailed
from chatserver.limits.rates import stored_message_bytes
from chatserver.messaging.validation import check_message
from chatserver.storage import accounts
from chatserver.storage.messages import open_direct_chat
from chatserver.users.names import username_key
from chatserver.users.phone_numbers import check_phone_number, is_number
from chatserver.users.users import account_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.errors import ServiceUnavailable
    from chatserver.limits.rates import Limits
    from chatserver.messaging.send_times import Arrival, SendTimes
    from chatserver.messaging.writer import MessageWriter
    from chatserver.model import SendMessage, SentMessage
    from chatserver.storage.database import Database
    from chatserver.users.number_lookups import Admit, NumberLookups


class MessageSender:
    """Sends messages within the rate limits of their senders, and counts the results.

    There are two ways in, because a task and a future for each frame were a large part of what a message cost:
    ``submit`` calls back, for frames that name their chat, nearly all messages; ``send`` is awaited, for requests and
    for messages to a user, whose chat needs queries of its own.

    Args:
        database: where direct chats are found and made.
        writer: stores the messages.
        limits: of messages and stored bytes, for each user.
        numbers: of phone numbers of users, for each user and address.
        times: counts the results and how long they took.
    """

    def __init__(
        self, database: Database, writer: MessageWriter, limits: Limits, numbers: NumberLookups, times: SendTimes
    ) -> None:
        self._database = database
        self._writer = writer
        self._limits = limits
        self._numbers = numbers
        self._times = times

    def count_outage(self, arrival: Arrival, error: ServiceUnavailable) -> None:
        """Count a send whose sender cannot be looked up, since the database is unavailable."""
        self._times.answered(arrival, error)

    async def send(self, sender_id: int, message: SendMessage, arrival: Arrival, address: str) -> SentMessage:
        """Send a message and return when it is committed.

        Args:
            sender_id: the user who sends it.
            message: what to send.
            arrival: of the frame or request.
            address: of the client.

        Raises:
            RateLimited: the user sends too many messages or bytes, on all their devices together, or looks up too many
                phone numbers.
            ChatError: as of ``send_message``.
        """
        try:
            self._check_limits(sender_id, message)
            admit = self._numbers.admitting(sender_id, address)
            sent = await send_message(self._database, self._writer, sender_id, message, admit=admit)
        except Exception as error:
            self._times.answered(arrival, error if isinstance(error, ChatError) else InternalError())
            raise
        self._times.answered(arrival, sent)
        return sent

    def submit(
        self,
        sender_id: int,
        message: SendMessage,
        arrival: Arrival,
        on_result: Callable[[SentMessage | ChatError], None],
    ) -> None:
        """Send a message that names its chat.

        Args:
            sender_id: the user who sends it.
            message: has a ``chat_id``.
            arrival: of the frame.
            on_result: called once, immediately or later, with what ``send`` would return or raise.
        """

        def count(result: SentMessage | ChatError) -> None:
            self._times.answered(arrival, result)
            on_result(result)

        try:
            self._check_limits(sender_id, message)
            self._writer.submit(check_message(message, sender_id, new_client_id=uuid.uuid4), count)
        except ChatError as error:
            count(error)

    def _check_limits(self, sender_id: int, message: SendMessage) -> None:
        size_bytes = stored_message_bytes(message.text, message.media_url)
        self._limits.check_change(sender_id, time.monotonic(), size_bytes)


async def send_message(
    database: Database, writer: MessageWriter, sender_id: int, message: SendMessage, *, admit: Admit | None = None
) -> SentMessage:
    """Store a message, which notifies all servers, and return when it is committed; no limit applies but `admit`.

    The first message to a user makes the direct chat. A message to oneself goes to a direct chat with one member:
    notes that all devices of the user see.
    The same client_id again in the same chat returns the first result with `duplicate`.

    Raises:
        ValidationFailed: a field is invalid; `errors` names it.
        UserNotFound: no user has the name or number in `to`.
        ChatError: ChatNotFound, NotAMember, NotAnAdmin, Blocked, IdempotencyConflict or ServiceUnavailable.
    """
    checked = check_message(message, sender_id, new_client_id=uuid.uuid4)
    if message.to is not None:
        chat_id = await _direct_chat_with(
            database, sender_id, message.to, is_reply=message.reply_to is not None, admit=admit
        )
        checked = replace(checked, chat_id=chat_id)
    return await writer.write(checked)


async def _direct_chat_with(database: Database, sender_id: int, to: str, *, is_reply: bool, admit: Admit | None) -> int:
    """Return the direct chat with a user; makes it for a message that can be stored.

    A rejected message makes none: members of a chat see each other's presence, and the other user would not know of it.
    """
    if is_number(to):
        dialled = check_phone_number(to, "to")
        number = await account_number(database, dialled)
        by_number = await accounts.direct_chat_by_phone(database, sender_id, number)
        # Before anything depends on whether somebody has the number.
        if admit is not None and (by_number is None or not by_number[2]):
            await admit([dialled])
        found = None if by_number is None else by_number[:2]
    else:
        # An invalid name is not found, like any other that no user has.
        found = await accounts.direct_chat_by_username(database, sender_id, username_key(to))
    if found is None:
        raise UserNotFound
    user_id, chat_id = found
    if chat_id is None:
        if is_reply:
            raise ValidationFailed.of("reply_to", checks.NO_MESSAGE)
        chat_id = await open_direct_chat(database, sender_id, user_id)
    if chat_id is None:
        raise Blocked
    return chat_id
