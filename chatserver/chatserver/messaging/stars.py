"""Starred messages of a user, the same on all of their devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from chatserver import checks
from chatserver.errors import ChatNotFound, MessageNotFound
from chatserver.events import StarAddedDetail, StarRemovedDetail
from chatserver.messaging.cursor import decode_star_place, encode_star_place
from chatserver.messaging.rows import fitting
from chatserver.model import Change, SeqRange
from chatserver.storage import changes, messages, stars
from chatserver.storage.announcing import announced
from chatserver.storage.blocks import lock_self_chat
from chatserver.storage.messages import append_event

if TYPE_CHECKING:
    from chatserver.model import MessageRow
    from chatserver.storage.database import Database

LIST_MAX: Final = 200
"""Stars of one page at most."""

LIST_BYTES_MAX: Final = 4 << 20
"""Bytes of the messages of one page, as they are stored, and of their texts in JSON; the message that passes it is the
last one."""


class Star(msgspec.Struct, frozen=True):
    """A message that a user has starred."""

    starred_at_us: int
    row: MessageRow


class StarPage(msgspec.Struct, frozen=True):
    """Starred messages, the newest star first; `next_cursor` is None on the last page."""

    stars: tuple[Star, ...]
    next_cursor: str | None


async def set_star(database: Database, user_id: int, chat_id: int, seq: int, *, starred: bool) -> Change:
    """Star a message that the user may see, or remove the star; the same again changes nothing.

    Returns:
        The event in the user's own chat.

    Raises:
        ChatNotFound: no such chat, or the user was never in it.
        MessageNotFound: the user may see no such message, or it was deleted and is to be starred.
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
        if not view.found or view.hidden or (starred and view.deleted):
            raise MessageNotFound
        change = stars.add if starred else stars.remove
        if not await change(connection, user_id, chat_id, seq):
            return Change(self_id, None)
        event_seq = await append_event(
            connection,
            announcement,
            chat_id=self_id,
            sender_id=user_id,
            target_seq=seq,
            detail=(StarAddedDetail if starred else StarRemovedDetail)(target_chat_id=chat_id),
        )
        return Change(self_id, event_seq)


async def list_stars(database: Database, user_id: int, *, limit: int = 50, cursor: str | None = None) -> StarPage:
    """Return the messages that a user has starred, the newest star first.

    Raises:
        ValidationFailed: malformed limit or cursor.
    """
    checks.check_limit(limit, LIST_MAX)
    below = None if cursor is None else decode_star_place(cursor)
    places, more = await stars.listed(database, user_id, below=below, limit=limit, most_bytes=LIST_BYTES_MAX)
    if not places:
        return StarPage((), None)
    ranges = [SeqRange(place.chat_id, place.seq, place.seq) for place in places]
    async with database.connection() as connection:
        found = await messages.deliveries(connection, ranges, [user_id])
    rows = {(delivery.row.chat_id, delivery.row.seq): delivery.row for delivery in found}
    # A message that was deleted or hidden since the first statement is not there any more.
    starred = [(place, rows[key]) for place in places if (key := (place.chat_id, place.seq)) in rows]
    count = fitting([row.text for _, row in starred], LIST_BYTES_MAX)
    kept = tuple(Star(place.starred_at_us, row) for place, row in starred[:count])
    if count < len(starred):
        return StarPage(kept, encode_star_place(starred[count - 1][0]))
    return StarPage(kept, encode_star_place(places[-1]) if more else None)
