"""Message info: who received and read a message of one's own, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import checks
from chatserver.errors import ChatNotFound, Forbidden, MessageNotFound, NotAMember
from chatserver.storage import message_info
from chatserver.storage.groups import blocked_with
from chatserver.storage.message_info import MemberTimes
from chatserver.storage.privacy import privacy_of

if TYPE_CHECKING:
    from chatserver.storage.database import Database


async def read_info(database: Database, user_id: int, chat_id: int, seq: int) -> tuple[MemberTimes, ...]:
    """Return the members who may see a message of the caller, by id, with the times of their receipts.

    Across a block both times are None, as the watermarks are. A caller who does not show what they have read is shown
    nothing of what others have.

    Raises:
        ChatNotFound: no such chat, or the caller was never a member.
        NotAMember: the caller is a former member.
        MessageNotFound: the caller may see no such message.
        Forbidden: somebody else's message.
    """
    if not checks.is_id(chat_id):
        raise ChatNotFound
    if not checks.is_id(seq):
        raise MessageNotFound
    found = await message_info.times(database, user_id, chat_id, seq)
    if found is None:
        raise ChatNotFound
    if found.gone:
        raise NotAMember
    if found.sender_id is None:
        raise MessageNotFound
    if found.sender_id != user_id:
        raise Forbidden("Only the sender of a message may see who received and read it.")
    async with database.connection() as connection:
        barred = await blocked_with(connection, user_id, [member.user_id for member in found.members])
        shows = (await privacy_of(connection, user_id)).read_receipts
    return tuple(
        MemberTimes(member.user_id)
        if member.user_id in barred
        else MemberTimes(member.user_id, member.delivered_at_us, member.read_at_us if shows else None)
        for member in found.members
    )
