"""Chats as their members see them: list, one, history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.errors import ChatNotFound, ValidationFailed
from chatserver.model import Chat, ChatPage, HistoryPage
from chatserver.services import checks
from chatserver.services.cursor import decode_place, encode_place
from chatserver.storage import chats, messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.storage.chats import ChatSummary
    from chatserver.storage.database import Database

LIST_MAX = 200
"""Chats of one page at most."""

HISTORY_MAX = 1000
"""Rows of one page of history at most."""


async def list_chats(database: Database, user_id: int, *, limit: int = 50, cursor: str | None = None) -> ChatPage:
    """Return the user's chats, the most recently active first.

    Chats that move up while a client pages are not repeated; it learns of them by its feed.

    Raises:
        ValidationFailed: malformed limit or cursor.
    """
    checks.check_limit(limit, LIST_MAX)
    below = None if cursor is None else decode_place(cursor, "cursor")
    found = await chats.summaries(database, user_id, below=below, limit=limit + 1)
    page = found[:limit]
    next_cursor = encode_place(page[-1].last_at_us, page[-1].chat_id) if len(found) > limit else None
    return ChatPage(await _complete(database, page), next_cursor)


async def _complete(database: Database, found: Sequence[ChatSummary]) -> tuple[Chat, ...]:
    """Add members and last messages: two statements for any number of chats."""
    async with database.connection() as connection:
        members = await chats.members_of(connection, [item.chat_id for item in found if not item.left])
    keys = [(item.chat_id, item.last_message_seq) for item in found if item.last_message_seq is not None]
    last = {row.chat_id: row for row in await messages.rows_at(database, keys)} if keys else {}
    return tuple(
        Chat(
            chat_id=item.chat_id,
            kind=item.kind,
            group_name=item.group_name,
            last_seq=item.last_seq,
            last_at_us=item.last_at_us,
            last_message=last.get(item.chat_id),
            unread=item.unread,
            left=item.left,
            members=members.get(item.chat_id, ()),
        )
        for item in found
    )


async def get_chat(database: Database, user_id: int, chat_id: int) -> Chat:
    """Return one chat.

    Raises:
        ChatNotFound: no such chat, or the user was never in it.
    """
    found = await chats.summaries(database, user_id, chat_id=chat_id) if checks.is_id(chat_id) else []
    if not found:
        raise ChatNotFound
    (chat,) = await _complete(database, found)
    return chat


async def read_history(
    database: Database,
    user_id: int,
    chat_id: int,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> HistoryPage:
    """Return rows of all kinds of one chat, oldest first, that this user may see.

    Args:
        database: where to read.
        user_id: who reads.
        chat_id: the chat.
        before: the newest `limit` rows with a smaller seq. Neither: the newest rows.
        after: the oldest `limit` rows with a greater seq. Both: the oldest ones in between.
        limit: 1 to HISTORY_MAX.

    Raises:
        ValidationFailed: a number is out of range. ChatNotFound: as of `get_chat`.
    """
    checks.check_limit(limit, HISTORY_MAX)
    for path, bound in (("before", before), ("after", after)):
        if bound is not None and not 0 <= bound < 2**63:
            raise ValidationFailed.of(path, "must be a seq")
    if not checks.is_id(chat_id) or await chats.access(database, user_id, chat_id) is None:
        raise ChatNotFound
    newest = after is None
    rows = await messages.history_rows(
        database, user_id, chat_id, after=after or 0, before=before, newest=newest, limit=limit + 1
    )
    more = len(rows) > limit
    kept = rows[-limit:] if newest else rows[:limit]
    return HistoryPage(tuple(kept), more)
