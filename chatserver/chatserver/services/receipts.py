"""Receipts: how far each member got and read, as watermarks that only rise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.errors import ValidationFailed
from chatserver.services import checks
from chatserver.storage.receipts import WatermarkRaise, raise_watermarks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatserver.model import Receipt, ReceiptMark
    from chatserver.storage.database import Database


async def mark(database: Database, user_id: int, marks: Mapping[int, ReceiptMark]) -> list[Receipt]:
    """Raise the user's watermarks in many chats with one statement, and hint what changed to all servers.

    Values beyond the chat's last row are lowered to it; a smaller one than before changes nothing; reading implies
    having got. Chats the user is not in are ignored: a client may be told late that it was removed.
    Nothing is written and nobody is told when nothing changes.

    Returns:
        The watermarks that changed (and only those).

    Raises:
        ValidationFailed: a negative number.
    """
    raises = []
    for chat_id, item in marks.items():
        for field, seq in (("delivered_seq", item.delivered_seq), ("read_seq", item.read_seq)):
            if seq is not None and not 0 <= seq < 2**63:
                raise ValidationFailed.of(f"chats.{chat_id}.{field}", "must be a seq")
        if checks.is_id(chat_id):
            raises.append(WatermarkRaise(user_id, chat_id, item.delivered_seq or 0, item.read_seq or 0))
    return await raise_watermarks(database, raises) if raises else []
