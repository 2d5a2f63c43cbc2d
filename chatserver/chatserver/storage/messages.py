"""SQL of messages: appending batches and reading rows."""

from __future__ import annotations

import msgspec


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message ready to be stored: checked, and with its chat known."""

    chat_id: int
    sender_id: int
    client_id: str
    client_hash: bytes
    text: str | None
    type: str
    media_url: str | None
    reply_to: int | None
    client_timestamp_us: int | None
