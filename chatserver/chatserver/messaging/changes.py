"""Changes to messages already sent: edit, delete, react. Each is one event, in the same transaction as its target."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from chatserver import checks, emojis
from chatserver.errors import (
    Blocked,
    ChatNotFound,
    EditTooLate,
    Forbidden,
    MessageNotFound,
    NotAMember,
    ValidationFailed,
)
from chatserver.events import DeleteDetail, EditDetail, HideDetail, ReactionAddedDetail, ReactionRemovedDetail
from chatserver.model import Change
from chatserver.storage import changes
from chatserver.storage.announcing import announced
from chatserver.storage.blocks import lock_self_chat
from chatserver.storage.messages import append_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatserver.storage.announcing import Announcement
    from chatserver.storage.changes import Place, Target
    from chatserver.storage.database import Connection, Database

EDIT_SECONDS: Final = 15 * 60
"""How long a message can be edited; what WhatsApp allows."""


def check_edit(place: Place, target: Target, user_id: int) -> None:
    """Check that the caller may give a message another text.

    Raises:
        Forbidden: somebody else's. EditTooLate: it is too old. Blocked: a direct chat with a block.
    """
    if target.sender_id != user_id:
        raise Forbidden("Only the sender of a message may edit it.")
    if place.blocked:
        raise Blocked
    if place.now_us - target.created_at_us > EDIT_SECONDS * 1_000_000:
        raise EditTooLate


def check_delete(place: Place, target: Target, user_id: int) -> None:
    """Check that the caller may delete a message for everyone.

    Raises:
        Forbidden: somebody else's, and the caller is no admin of the group.
    """
    if target.sender_id != user_id and not (place.kind == "group" and place.role == "admin"):
        raise Forbidden("Only the sender of a message, or an admin of the group, may delete it for everyone.")


@asynccontextmanager
async def _change(
    database: Database, user_id: int, chat_id: int, seq: int
) -> AsyncIterator[tuple[Connection, Announcement, Place, Target]]:
    """Open a transaction in which the chat and the message cannot change.

    Raises:
        ChatNotFound: no such chat, or the caller was never a member.
        NotAMember: the caller is a former member.
        MessageNotFound: no message that the caller can see has this seq.
    """
    if not checks.is_id(chat_id):
        raise ChatNotFound
    if not checks.is_id(seq):
        raise MessageNotFound
    async with announced(database) as (connection, announcement):
        place = await changes.lock_place(connection, user_id, chat_id, seq)
        if place is None:
            raise ChatNotFound
        if place.left:
            raise NotAMember
        if place.target is None:
            raise MessageNotFound
        yield connection, announcement, place, place.target


async def edit_message(database: Database, user_id: int, chat_id: int, seq: int, text: str) -> Change:
    """Give a message, or the picture it is the caption of, another text; the same text again changes nothing.

    Raises:
        ValidationFailed: the text is too long, or empty in a message of type text.
        Forbidden, EditTooLate, Blocked, ChatNotFound, NotAMember, MessageNotFound.
    """
    checked = checks.check_text(text, "text") or None
    async with _change(database, user_id, chat_id, seq) as (connection, announcement, place, target):
        if target.deleted_at_us is not None:
            raise MessageNotFound
        if target.sender_id == user_id and target.text == checked:
            return Change(chat_id, None)
        check_edit(place, target, user_id)
        if checked is None and target.type == "text":
            raise ValidationFailed.of("text", "must not be empty")
        event_seq = await append_event(
            connection, announcement, chat_id=chat_id, sender_id=user_id, detail=EditDetail(), target_seq=seq
        )
        await changes.keep_version(connection, chat_id, seq, event_seq)
        await changes.set_text(connection, chat_id, seq, checked, event_seq)
        return Change(chat_id, event_seq)


async def delete_message(database: Database, user_id: int, chat_id: int, seq: int) -> Change:
    """Delete a message's text, media and reactions for everyone; repeating it changes nothing.

    Raises:
        Forbidden, ChatNotFound, NotAMember, MessageNotFound.
    """
    async with _change(database, user_id, chat_id, seq) as (connection, announcement, place, target):
        check_delete(place, target, user_id)
        if target.deleted_at_us is not None:
            return Change(chat_id, None)
        event_seq = await append_event(
            connection, announcement, chat_id=chat_id, sender_id=user_id, detail=DeleteDetail(), target_seq=seq
        )
        await changes.clear(connection, chat_id, seq, event_seq)
        return Change(chat_id, event_seq)


async def hide_message(database: Database, user_id: int, chat_id: int, seq: int) -> Change:
    """Delete a message for the caller alone, whoever sent it; former members can too. Doing it again changes nothing.

    Returns:
        The event in the caller's own chat.

    Raises:
        ChatNotFound, MessageNotFound.
    """
    if not checks.is_id(chat_id):
        raise ChatNotFound
    if not checks.is_id(seq):
        raise MessageNotFound
    async with announced(database) as (connection, announcement):
        self_id = await lock_self_chat(connection, announcement, user_id)
        view = await changes.lock_own_view(connection, user_id, chat_id, seq)
        if view is None:
            raise ChatNotFound
        if not view.found:
            raise MessageNotFound
        if view.hidden:
            return Change(self_id, None)
        await changes.hide(connection, user_id, chat_id, seq)
        event_seq = await append_event(
            connection,
            announcement,
            chat_id=self_id,
            sender_id=user_id,
            target_seq=seq,
            detail=HideDetail(target_chat_id=chat_id),
        )
        return Change(self_id, event_seq)


async def put_reaction(database: Database, user_id: int, chat_id: int, seq: int, emoji: str) -> Change:
    """React to a message; it replaces the caller's other reaction, and the same one again changes nothing.

    Two spellings of an emoji, with and without variation selectors, are the same one.

    Raises:
        ValidationFailed: no emoji. Blocked, ChatNotFound, NotAMember, MessageNotFound.
    """
    emoji = checks.check_emoji(emoji, "emoji")
    async with _change(database, user_id, chat_id, seq) as (connection, announcement, place, target):
        if target.deleted_at_us is not None:
            raise MessageNotFound
        if target.own_reaction is not None and emojis.spelled(target.own_reaction) == emoji:
            return Change(chat_id, None)
        if place.blocked:
            raise Blocked
        return await _react(connection, announcement, user_id, chat_id, seq, ReactionAddedDetail(emoji=emoji))


async def remove_reaction(database: Database, user_id: int, chat_id: int, seq: int, emoji: str) -> Change:
    """Remove the caller's reaction, in any spelling; nothing changes when it is a different one, or there is none.

    Raises:
        ValidationFailed: no emoji. ChatNotFound, NotAMember, MessageNotFound.
    """
    async with _change(database, user_id, chat_id, seq) as (connection, announcement, _, target):
        own = target.own_reaction
        if own is None or emojis.without_selectors(own) != emojis.without_selectors(emoji):
            # Only now: what was taken as an emoji once, and is none, can still be removed.
            checks.check_emoji(emoji, "emoji")
            return Change(chat_id, None)
        detail = ReactionRemovedDetail(emoji=emojis.spelled(own))
        return await _react(connection, announcement, user_id, chat_id, seq, detail)


async def _react(
    connection: Connection,
    announcement: Announcement,
    user_id: int,
    chat_id: int,
    seq: int,
    detail: ReactionAddedDetail | ReactionRemovedDetail,
) -> Change:
    event_seq = await append_event(
        connection, announcement, chat_id=chat_id, sender_id=user_id, target_seq=seq, detail=detail
    )
    await changes.keep_version(connection, chat_id, seq, event_seq)
    emoji = detail.emoji if isinstance(detail, ReactionAddedDetail) else None
    await changes.set_reaction(connection, chat_id, seq, user_id, emoji)
    return Change(chat_id, event_seq)
