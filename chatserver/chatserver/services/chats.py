"""Chats as their members see them: list, one, history."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.model import Chat, ChatPage, HistoryPage
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
    raise NotImplementedError


async def get_chat(database: Database, user_id: int, chat_id: int) -> Chat:
    """Return one chat.

    Raises:
        ChatNotFound: no such chat, or the user was never in it.
    """
    raise NotImplementedError


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
        before: the newest `limit` rows with a smaller seq. Neither: the newest rows.
        after: the oldest `limit` rows with a greater seq. Both: the oldest ones in between.
        limit: 1 to HISTORY_MAX.

    Raises:
        ValidationFailed: a number is out of range. ChatNotFound: as of `get_chat`.
    """
    raise NotImplementedError
