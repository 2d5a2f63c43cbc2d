"""Sending a message."""

from __future__ import annotations

import hashlib
import math
import uuid
from typing import TYPE_CHECKING, get_args

import msgspec

from chatserver import bounds, checks
from chatserver.errors import Blocked, ChatNotFound, UserNotFound, ValidationFailed
from chatserver.model import MessageType
from chatserver.storage import accounts
from chatserver.storage.messages import NewMessage, open_direct_chat
from chatserver.storage.times import moment_of
from chatserver.users.names import check_addressee, username_key
from chatserver.users.phone_numbers import check_phone_number, is_number
from chatserver.users.users import account_number

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from chatserver.messaging.writer import MessageWriter
    from chatserver.model import SendMessage, SentMessage
    from chatserver.storage.database import Database

TYPES: tuple[MessageType, ...] = get_args(MessageType)
"""What a message may be."""


async def send_message(database: Database, writer: MessageWriter, sender_id: int, message: SendMessage) -> SentMessage:
    """Store a message and hint it to all servers; when this returns, it is committed.

    The first message to a user makes the direct chat. A message to oneself goes to a direct chat with one member:
    notes that all of one's devices see.
    The same client_id again in the same chat returns the first result with `duplicate`.

    Raises:
        ValidationFailed: a field is wrong; `errors` names it.
        UserNotFound: nobody has the name or number in `to`.
        ChatError: ChatNotFound, NotAMember, Blocked, IdempotencyConflict or ServiceUnavailable.
    """
    checked = check_message(message, sender_id, new_client_id=uuid.uuid4)
    if message.to is not None:
        chat_id = await _direct_chat_with(database, sender_id, message.to, is_reply=message.reply_to is not None)
        checked = msgspec.structs.replace(checked, chat_id=chat_id)
    return await writer.write(checked)


async def _direct_chat_with(database: Database, sender_id: int, to: str, *, is_reply: bool) -> int:
    """Return the direct chat with a user, made for a message that can be stored.

    A refused one makes none: who shares a chat sees when the other is online, and the other would not know of it.
    """
    if is_number(to):
        number = await account_number(database, check_phone_number(to, "to"))
        found = await accounts.direct_chat_by_phone(database, sender_id, number)
    else:
        # A name that cannot exist is not found, like any other.
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


def check_message(message: SendMessage, sender_id: int, *, new_client_id: Callable[[], uuid.UUID]) -> NewMessage:
    """Return the message as it will be stored (with chat_id 0 while only `to` is known).

    Args:
        message: as the client asked.
        sender_id: who sends it.
        new_client_id: makes the client_id of a message that has none.

    Raises:
        ValidationFailed: a field is wrong. ChatNotFound: a chat_id that no chat can have.
    """
    if (message.to is None) == (message.chat_id is None):
        raise ValidationFailed.of("to", "send exactly one of 'to' and 'chat_id'")
    if message.to is not None:
        check_addressee(message.to, "to")
        if not message.to:
            raise ValidationFailed.of("to", "must be a username or a phone number in E.164 form")
    if message.chat_id is not None and not checks.is_id(message.chat_id):
        raise ChatNotFound
    if message.type not in TYPES:
        raise ValidationFailed.of("type", f"must be one of {', '.join(TYPES)}")
    # No text and an empty one are the same content, so that a retry may take the other road: REST or WebSocket.
    text = checks.check_text(message.text, "text") if message.text else None
    media_url = None if message.media_url is None else checks.check_url(message.media_url, "media_url")
    if message.type == "text" and not text:
        raise ValidationFailed.of("text", "must not be empty")
    if message.type != "text" and media_url is None:
        raise ValidationFailed.of("media_url", f"is needed for a message of type {message.type!r}")
    if message.reply_to is not None and not checks.is_id(message.reply_to):
        raise ValidationFailed.of("reply_to", checks.NO_MESSAGE)
    return NewMessage(
        chat_id=message.chat_id or 0,
        sender_id=sender_id,
        client_id=str(new_client_id()) if message.client_id is None else checks.check_client_id(message.client_id),
        client_hash=content_hash(text, message.type, media_url, message.reply_to),
        text=text,
        type=message.type,
        media_url=media_url,
        reply_to=message.reply_to,
        client_timestamp=_check_timestamp(message.timestamp),
    )


def content_hash(text: str | None, type_: str, media_url: str | None, reply_to: int | None) -> bytes:
    """Return what tells a retry from another message under the same client_id.

    The client's timestamp is no part of it: a retry may carry a newer one.
    """
    return hashlib.sha256(msgspec.json.encode([text, type_, media_url, reply_to])).digest()


def _check_timestamp(timestamp: float | None) -> datetime | None:
    if timestamp is None:
        return None
    if not math.isfinite(timestamp) or not 0 <= timestamp <= bounds.LAST_SECOND:
        raise ValidationFailed.of("timestamp", "must be Unix seconds")
    return moment_of(round(timestamp * 1_000_000))
