"""The timer of a chat: the time after which its messages go, for all members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import checks
from chatserver.errors import Blocked, ChatNotFound, NotAMember, NotAnAdmin
from chatserver.events import TimerDetail
from chatserver.model import Change
from chatserver.storage import changes, expiries
from chatserver.storage.announcing import announced
from chatserver.storage.messages import append_event

if TYPE_CHECKING:
    from chatserver.storage.changes import Place
    from chatserver.storage.database import Database

NO_MESSAGE = 0
"""A seq that no row has."""


def check_place(place: Place | None) -> None:
    """Check that the caller may set the timer of the chat in which they have this place.

    Raises:
        ChatNotFound: never a member, or their own chat. NotAMember: a former member. Blocked: a direct chat with a
            block. NotAnAdmin: a group, and the caller is no admin of it.
    """
    if place is None or place.kind == "self":
        raise ChatNotFound
    if place.left:
        raise NotAMember
    if place.blocked:
        raise Blocked
    if place.kind == "group" and place.role != "admin":
        raise NotAnAdmin


async def set_timer(database: Database, user_id: int, chat_id: int, seconds: int | None) -> Change:
    """Have the messages that are sent to a chat from now on go after so many seconds; None: they stay.

    The same timer again changes nothing. Messages from before keep theirs.

    Raises:
        ChatNotFound, NotAMember, Blocked, NotAnAdmin: as of `check_place`.
    """
    if not checks.is_id(chat_id):
        raise ChatNotFound
    async with announced(database) as (connection, announcement):
        check_place(await changes.lock_place(connection, user_id, chat_id, NO_MESSAGE))
        if await expiries.timer(connection, chat_id) == seconds:
            return Change(chat_id, None)
        seq = await append_event(
            connection, announcement, chat_id=chat_id, sender_id=user_id, detail=TimerDetail(seconds=seconds)
        )
        await expiries.set_timer(connection, user_id, chat_id, seconds, seq)
        return Change(chat_id, seq)
