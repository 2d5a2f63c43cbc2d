"""Validation of a message before it is stored. Pure."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, get_args

import msgspec

from chatserver import bounds, checks
from chatserver.errors import ChatNotFound, ValidationFailed
from chatserver.model import MessageType
from chatserver.storage.messages import NewMessage
from chatserver.storage.times import moment_of
from chatserver.users.names import check_addressee

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable
    from datetime import datetime

    from chatserver.model import SendMessage

TYPES: tuple[MessageType, ...] = get_args(MessageType)
"""The values of `type`."""


def check_message(message: SendMessage, sender_id: int, *, new_client_id: Callable[[], uuid.UUID]) -> NewMessage:
    """Return the message as it will be stored, with chat_id 0 while only `to` is known.

    Args:
        message: as the client sent it.
        sender_id: the user who sends it.
        new_client_id: makes the client_id of a message that has none.

    Raises:
        ValidationFailed: a field is invalid.
        ChatNotFound: no chat can have this chat_id.
    """
    if (message.to is None) == (message.chat_id is None):
        raise ValidationFailed.of("to", "send exactly one of 'to' and 'chat_id'")
    if message.to is not None:
        check_addressee(message.to, "to")
        if not message.to:
            raise ValidationFailed.of("to", "must be a username or a phone number in E.164 form")
    if message.chat_id is not None and not checks.is_id(message.chat_id):
        raise ChatNotFound
    if message.message_type not in TYPES:
        raise ValidationFailed.of("type", f"must be one of {', '.join(TYPES)}")
    # No text and an empty one are the same content, so that a message sent by WebSocket can be retried by REST.
    text = checks.check_text(message.text, "text") if message.text else None
    media_url = None if message.media_url is None else checks.check_url(message.media_url, "media_url")
    if message.message_type == "text" and not text:
        raise ValidationFailed.of("text", "must not be empty")
    if message.message_type != "text" and media_url is None:
        raise ValidationFailed.of("media_url", f"is needed for a message of type {message.message_type!r}")
    if message.reply_to is not None and not checks.is_id(message.reply_to):
        raise ValidationFailed.of("reply_to", checks.NO_MESSAGE)
    return NewMessage(
        chat_id=message.chat_id or 0,
        sender_id=sender_id,
        client_id=str(new_client_id()) if message.client_id is None else checks.check_client_id(message.client_id),
        client_hash=content_hash(text, message.message_type, media_url, message.reply_to),
        text=text,
        message_type=message.message_type,
        media_url=media_url,
        reply_to=message.reply_to,
        client_timestamp=_check_timestamp(message.timestamp),
    )


def content_hash(text: str | None, type_: str, media_url: str | None, reply_to: int | None) -> bytes:
    """Return a hash that distinguishes a retry from a different message under the same client_id.

    It leaves out the client's timestamp: a retry may have a newer one.
    """
    return hashlib.sha256(msgspec.json.encode([text, type_, media_url, reply_to])).digest()


def _check_timestamp(timestamp: float | None) -> datetime | None:
    if timestamp is None:
        return None
    if not math.isfinite(timestamp) or not 0 <= timestamp <= bounds.LAST_SECOND:
        raise ValidationFailed.of("timestamp", "must be Unix seconds")
    return moment_of(round(timestamp * 1_000_000))
