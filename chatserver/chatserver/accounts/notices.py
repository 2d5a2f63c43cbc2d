"""Rows in a user's own chat that notify their devices of what happens to the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver.storage import accounts
from chatserver.storage.blocks import lock_self_chat
from chatserver.storage.messages import append_event

if TYPE_CHECKING:
    from chatserver.events import EventDetail
    from chatserver.storage.announcing import Announcement
    from chatserver.storage.database import Connection


class OwnChat(msgspec.Struct, frozen=True):
    """The locked own chat of a user."""

    user_id: int
    chat_id: int


async def lock(connection: Connection, announcement: Announcement, user_id: int) -> OwnChat:
    """Lock a user's own chat, before any other lock."""
    return OwnChat(user_id, await lock_self_chat(connection, announcement, user_id))


async def lock_by_number(connection: Connection, announcement: Announcement, phone_number: str) -> OwnChat | None:
    """Lock the own chat of a number's account as `lock` does; None: the account has no device to notify."""
    user_id = await accounts.signed_in_user(connection, phone_number)
    return None if user_id is None else await lock(connection, announcement, user_id)


async def add(connection: Connection, announcement: Announcement, chat: OwnChat, detail: EventDetail) -> None:
    """Add a row that records an event of the user's account."""
    await append_event(connection, announcement, chat_id=chat.chat_id, sender_id=chat.user_id, detail=detail)
