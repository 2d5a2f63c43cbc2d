"""What a reconnecting client missed, and what a server asks to bring rows to its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chatserver.model import Delivery, Receipt, SeqRange, SyncResult
    from chatserver.storage.database import Database

SYNC_ROWS_MAX = 500
"""Rows of one answer to a sync; the client asks again for more, or fetches history by REST."""


async def sync_user(
    database: Database, user_id: int, have: Mapping[int, int], *, limit: int = SYNC_ROWS_MAX
) -> SyncResult:
    """Return what a client does not have yet, of the chats it names and of those it does not.

    Rows of a chat come oldest first from have_seq + 1 on (a chat that is not named: from its beginning), so that a
    client that syncs again while `more` has no holes. Chats the user is not in are ignored.

    Args:
        have: chat_id -> the seq up to which the client has everything.
        limit: rows in all.
    """
    raise NotImplementedError


async def rows_for(database: Database, ranges: Sequence[SeqRange], user_ids: Sequence[int]) -> list[Delivery]:
    """Return the rows of hinted ranges, each with those of `user_ids` who may see it; one query for many chats.

    Args:
        ranges: as hinted. Rows that do not exist are left out.
        user_ids: users connected to this server that are interested in these chats.

    Returns:
        Ordered by chat and seq; rows that none of the users may see are left out.
    """
    raise NotImplementedError


async def positions(database: Database, user_ids: Sequence[int]) -> dict[int, dict[int, int]]:
    """Return {user_id: {chat_id: the last seq that user may see}} for all chats of the users, left ones included.

    For a user that connects, and every 5 s for all connected users while hints are lost: it shows new rows and
    chats alike.
    """
    raise NotImplementedError


async def last_seqs(database: Database, chat_ids: Sequence[int]) -> dict[int, int]:
    """Return {chat_id: last_seq} of the chats that exist."""
    raise NotImplementedError


async def members_of(database: Database, chat_ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return {chat_id: ids of its current members}."""
    raise NotImplementedError


async def receipts_of(database: Database, chat_ids: Sequence[int]) -> list[Receipt]:
    """Return the watermarks of all current members of these chats, to heal after lost hints."""
    raise NotImplementedError
