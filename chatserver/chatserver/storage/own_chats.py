"""SQL of what a user sets for a chat, or clears of it, for themselves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, LiteralString

import msgspec

from chatserver.model import ChatSettings
from chatserver.storage.times import micros, micros_or_none, moment_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from chatserver.storage.database import Connection

SETTINGS: Final[LiteralString] = "cm.muted_until, cm.pinned_at, cm.archived, cm.marked_unread"
"""Columns of a membership `cm` that `settings_from` reads."""

SETTINGS_COLUMNS: Final = 4


def settings_from(columns: Sequence[Any]) -> ChatSettings:
    """Make settings from the columns of `SETTINGS`."""
    muted_until, pinned_at, archived, marked_unread = columns
    return ChatSettings(micros_or_none(muted_until), micros_or_none(pinned_at), archived, marked_unread)


class OwnPlace(msgspec.Struct, frozen=True):
    """A user's place in a chat, locked.

    Attributes:
        first_seq: the user sees only rows above it.
        last_seq: the last row that the user may see.
        now_us: the database's clock.
    """

    first_seq: int
    last_seq: int
    settings: ChatSettings
    now_us: int


async def lock_own_place(connection: Connection, user_id: int, chat_id: int) -> OwnPlace | None:
    """Lock a user's membership, current or past, of a conversation; None: never a member."""
    record = await connection.fetchrow(
        f"SELECT cm.joined_seq, coalesce(cm.left_seq, c.last_seq), clock_timestamp(), {SETTINGS} "
        "FROM chat_members cm JOIN chats c USING (chat_id) "
        "WHERE cm.chat_id = $1 AND cm.user_id = $2 AND c.kind <> 'self' FOR NO KEY UPDATE OF cm",
        chat_id,
        user_id,
    )
    if record is None:
        return None
    return OwnPlace(record[0], record[1], settings_from(record[3:]), micros(record[2]))


async def set_settings(connection: Connection, user_id: int, chat_id: int, settings: ChatSettings) -> None:
    """Store what a user has set for a chat."""
    await connection.execute(
        "UPDATE chat_members SET muted_until = $3, pinned_at = $4, archived = $5, marked_unread = $6 "
        "WHERE chat_id = $1 AND user_id = $2",
        chat_id,
        user_id,
        moment_or_none(settings.muted_until_us),
        moment_or_none(settings.pinned_at_us),
        settings.archived,
        settings.marked_unread,
    )


async def clear(connection: Connection, user_id: int, chat_id: int, up_to_seq: int) -> None:
    """Let a user's view of a chat begin above a row, and remove their stars up to it."""
    await connection.execute(
        "UPDATE chat_members SET came_seq = coalesce(came_seq, joined_seq), joined_seq = $3, "
        "absent = absent * int8multirange(int8range($3, NULL, '(]')) WHERE chat_id = $1 AND user_id = $2",
        chat_id,
        user_id,
        up_to_seq,
    )
    await connection.execute(
        "DELETE FROM stars WHERE chat_id = $1 AND user_id = $2 AND seq <= $3", chat_id, user_id, up_to_seq
    )
