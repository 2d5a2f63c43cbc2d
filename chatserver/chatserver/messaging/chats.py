"""Chats as their members see them: list, one, history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chatserver import checks
from chatserver.errors import ChatNotFound, ValidationFailed
from chatserver.messaging.cursor import (
    ChatWalk,
    FeedCursor,
    decode_changed_since,
    decode_chat_walk,
    encode_chat_walk,
    encode_feed_cursor,
)
from chatserver.messaging.feed import check_epoch
from chatserver.messaging.rows import fitting
from chatserver.model import Chat, MessageRow  # noqa: TC001 - msgspec reads the annotations
from chatserver.storage import chats, messages

if TYPE_CHECKING:
    from chatserver.storage.database import Database

LIST_MAX = 200
"""Chats of one page at most."""

LIST_MEMBERS_MAX = 50
"""Members of each chat of a page: 200 full groups, 205,000 members, would be 20 MB; 50 of each are 1 MB. The chat by
itself has all of them."""

LIST_BYTES_MAX = 4 << 20
"""Bytes of the last messages of one page of chats, as they are stored, and of their texts and the groups' descriptions
in JSON; the chat that passes it is the last one."""

HISTORY_MAX = 1000
"""Rows of one page of history at most."""

HISTORY_BYTES_MAX = 4 << 20
"""Bytes of the rows of one page of history, as they are stored, and of their texts in JSON; the row that passes it is
the last one. 1,000 large texts are 250 MiB."""


class ChatPage(msgspec.Struct, frozen=True):
    """Chats, newest first.

    Attributes:
        next_cursor: None on the last page.
        next_changed_since: on the last page, the position from which changes continue; None on the others.
    """

    chats: tuple[Chat, ...]
    next_cursor: str | None
    next_changed_since: str | None


class HistoryPage(msgspec.Struct, frozen=True):
    """Rows of one chat, oldest first; `more` says whether rows remain in the requested direction."""

    rows: tuple[MessageRow, ...]
    more: bool


async def list_chats(
    database: Database, user_id: int, *, limit: int = 50, cursor: str | None = None, changed_since: str | None = None
) -> ChatPage:
    """Return the user's chats, the most recently active first, with up to LIST_MEMBERS_MAX members each: one statement.

    A chat that becomes active while a client walks through the pages may move from those to come to those that it has
    had. So behind the last page come those that have had rows since the first page was read, once more.

    Args:
        database: where to read.
        user_id: whose chats.
        limit: 1 to LIST_MAX chats; large last messages make it fewer.
        cursor: a `ChatPage.next_cursor`; with it, `changed_since` means nothing.
        changed_since: a `ChatPage.next_changed_since`: only chats that have changed since. None: all.

    Raises:
        ValidationFailed: malformed limit, cursor or changed_since.
        CursorExpired: what has changed is unknown, because the position is from another history of the database.
        ServiceUnavailable: the database is unavailable, or it is not known yet which history it has.
    """
    checks.check_limit(limit, LIST_MAX)
    walk = ChatWalk()
    if cursor is not None:
        walk = decode_chat_walk(cursor)
    elif changed_since is not None:
        walk = decode_changed_since(changed_since)
    page = await chats.listed(
        database,
        user_id,
        below=walk.below,
        since=walk.since,
        limit=limit,
        most_members=LIST_MEMBERS_MAX,
        most_bytes=LIST_BYTES_MAX,
    )
    if walk.since is not None and walk.epoch:
        await check_epoch(database, walk.epoch, page.epoch)
    began, epoch = walk.began or page.snapshot, walk.epoch or page.epoch
    found = page.chats[: fitting([_texts_of(chat) for chat in page.chats], LIST_BYTES_MAX)]
    onward = None
    if page.more or len(found) < len(page.chats):
        last = found[-1]
        onward = ChatWalk((last.last_at_us, last.chat_id), began, walk.since, epoch)
    elif walk.began is not None and await chats.has_new_rows(database, user_id, walk.began):
        onward = ChatWalk(since=began, epoch=epoch)
    if onward is not None:
        return ChatPage(found, encode_chat_walk(onward), None)
    return ChatPage(found, None, encode_feed_cursor(FeedCursor(epoch, lower=began)))


def _texts_of(chat: Chat) -> str:
    text = "" if chat.last_message is None else chat.last_message.text or ""
    return text if chat.group is None else text + (chat.group.description or "")


async def get_chat(database: Database, user_id: int, chat_id: int) -> Chat:
    """Return one chat with all of its members.

    Raises:
        ChatNotFound: no such chat, or the user was never in it.
    """
    if not checks.is_id(chat_id):
        raise ChatNotFound
    found = await chats.listed(database, user_id, chat_id=chat_id, most_members=None)
    if not found.chats:
        raise ChatNotFound
    return found.chats[0]


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
        limit: 1 to HISTORY_MAX; large texts make it fewer.

    Raises:
        ValidationFailed: a number is out of range. ChatNotFound: as of `get_chat`.
    """
    checks.check_limit(limit, HISTORY_MAX)
    for path, bound in (("before", before), ("after", after)):
        if bound is not None and not 0 <= bound < 2**63:
            raise ValidationFailed.of(path, "must be a seq: a whole number from 0 to 2^63-1")
    if not checks.is_id(chat_id) or await chats.access(database, user_id, chat_id) is None:
        raise ChatNotFound
    newest = after is None
    rows, more = await messages.history_rows(
        database,
        user_id,
        chat_id,
        after=after or 0,
        before=before,
        newest=newest,
        limit=limit,
        most_bytes=HISTORY_BYTES_MAX,
    )
    # From the end that the page begins with.
    texts = [row.text for row in (reversed(rows) if newest else rows)]
    count = fitting(texts, HISTORY_BYTES_MAX)
    kept = rows[len(rows) - count :] if newest else rows[:count]
    return HistoryPage(tuple(kept), more or count < len(rows))
