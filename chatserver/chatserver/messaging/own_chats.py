"""What a user sets for a chat, or clears of it: the same on all of their devices, and for nobody else to see."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from chatserver import checks
from chatserver.bounds import LAST_SECOND
from chatserver.errors import ChatNotFound, ValidationFailed
from chatserver.events import ClearDetail, SettingsDetail
from chatserver.messaging.rendering import view_settings
from chatserver.model import Change
from chatserver.storage import own_chats
from chatserver.storage.announcing import announced
from chatserver.storage.blocks import lock_self_chat
from chatserver.storage.messages import append_event
from chatserver.storage.times import micros_or_none
from chatserver.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from chatserver.model import ChatSettings
    from chatserver.storage.announcing import Announcement
    from chatserver.storage.database import Connection, Database
    from chatserver.storage.own_chats import OwnPlace


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of what a user has set for a chat; UNSET leaves a field unchanged.

    Attributes:
        muted_until: with an offset from UTC; None: notifications are not muted.
    """

    muted_until: datetime | msgspec.UnsetType | None = msgspec.UNSET
    archived: bool | msgspec.UnsetType = msgspec.UNSET
    pinned: bool | msgspec.UnsetType = msgspec.UNSET
    marked_unread: bool | msgspec.UnsetType = msgspec.UNSET


def changed(settings: ChatSettings, change: SettingsChange, now_us: int) -> ChatSettings:
    """Return the settings after a change; a chat that is pinned already keeps its place among the pinned ones.

    Raises:
        ValidationFailed: a time that is before 1970, or after the year 9999 in UTC.

    Example:
        >>> from chatserver.model import ChatSettings
        >>> changed(ChatSettings(pinned_at_us=5), SettingsChange(pinned=True, archived=True), 9)
        ChatSettings(muted_until_us=None, pinned_at_us=5, archived=True, marked_unread=False)
    """
    fields: dict[str, Any] = {
        name: value for name in ("archived", "marked_unread") if (value := getattr(change, name)) is not msgspec.UNSET
    }
    if change.muted_until is not msgspec.UNSET:
        fields["muted_until_us"] = micros_or_none(change.muted_until)
        if not 0 <= (fields["muted_until_us"] or 0) < (LAST_SECOND + 1) * MICROSECONDS:
            raise ValidationFailed.of("muted_until", "must be a time of the years 1970 to 9999 in UTC")
    if change.pinned is not msgspec.UNSET and change.pinned != (settings.pinned_at_us is not None):
        fields["pinned_at_us"] = now_us if change.pinned else None
    return replace(settings, **fields)


@asynccontextmanager
async def _own_place(
    database: Database, user_id: int, chat_id: int
) -> AsyncIterator[tuple[Connection, Announcement, int, OwnPlace]]:
    """Open a transaction in which the user's own chat, whose id it yields, and their place in another are locked.

    Raises:
        ChatNotFound: no such chat, or the user was never in it.
    """
    if not checks.is_id(chat_id):
        raise ChatNotFound
    async with announced(database) as (connection, announcement):
        self_id = await lock_self_chat(connection, announcement, user_id)
        own = await own_chats.lock_own_place(connection, user_id, chat_id)
        if own is None:
            raise ChatNotFound
        yield connection, announcement, self_id, own


async def change_settings(database: Database, user_id: int, chat_id: int, change: SettingsChange) -> Change:
    """Change what a user has set for a chat, also one they have left; the same again changes nothing.

    Returns:
        The event in the user's own chat. It has all settings, so that the newest one is the state.

    Raises:
        ChatNotFound: no such chat, or the user was never in it. ValidationFailed: as of `changed`.
    """
    async with _own_place(database, user_id, chat_id) as (connection, announcement, self_id, own):
        settings = changed(own.settings, change, own.now_us)
        if settings == own.settings:
            return Change(self_id, None)
        await own_chats.set_settings(connection, user_id, chat_id, settings)
        event_seq = await append_event(
            connection,
            announcement,
            chat_id=self_id,
            sender_id=user_id,
            detail=SettingsDetail(target_chat_id=chat_id, **view_settings(settings)),
        )
        return Change(self_id, event_seq)


async def clear_history(database: Database, user_id: int, chat_id: int, up_to_seq: int) -> Change:
    """Delete all rows up to a seq for the user alone, also in a chat they have left.

    Returns:
        The event in the user's own chat; its target is the last row that was cleared.

    Raises:
        ChatNotFound: no such chat, or the user was never in it.
    """
    async with _own_place(database, user_id, chat_id) as (connection, announcement, self_id, own):
        last_seq = min(up_to_seq, own.last_seq)
        if last_seq <= own.first_seq:
            return Change(self_id, None)
        await own_chats.clear(connection, user_id, chat_id, last_seq)
        event_seq = await append_event(
            connection,
            announcement,
            chat_id=self_id,
            sender_id=user_id,
            target_seq=last_seq,
            detail=ClearDetail(target_chat_id=chat_id),
        )
        return Change(self_id, event_seq)
