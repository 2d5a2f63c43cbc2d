"""Receipts: how far each member got and read, as watermarks that only rise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatserver.model import Receipt, ReceiptMark
    from chatserver.storage.database import Database


async def mark(database: Database, user_id: int, marks: Mapping[int, ReceiptMark]) -> list[Receipt]:
    """Raise the user's watermarks in many chats with one statement, and hint what changed to all servers.

    Values beyond the chat's last row are lowered to it; a smaller one than before changes nothing; reading implies
    having got. Chats the user is not in are ignored: a client may be told late that it was removed.

    Returns:
        The watermarks that changed (and only those).

    Raises:
        ValidationFailed: a negative number.
    """
    raise NotImplementedError
