"""The user-wide feed behind ``GET /api/messages``: everything that is new in all chats of a user, exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.model import Page
    from chatserver.storage.database import Database

PAGE_ROWS_MAX = 1000
"""Rows of one page at most."""


async def read_feed(
    database: Database, user_id: int, *, since: str | None = None, limit: int = 100, events: bool = False
) -> Page:
    """Return the next page, oldest first.

    Args:
        since: None: from the beginning; 1 to 12 digits: Unix seconds, inclusive; otherwise a `Page.next_since`.
        limit: 1 to PAGE_ROWS_MAX rows.
        events: also rows of other kinds than `message`. Keep it the same along one cursor.

    Raises:
        ValidationFailed: malformed since or limit.
        CursorExpired: the cursor is from another history of the database.
    """
    raise NotImplementedError
