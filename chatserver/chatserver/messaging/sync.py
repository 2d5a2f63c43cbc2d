"""Reads for clients that reconnect, and for delivery to the connections of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import checks
from chatserver.messaging.rows import fitting
from chatserver.model import SeqRange, SyncResult
from chatserver.storage import chats, messages, receipts
from chatserver.storage import sync as storage
from chatserver.storage.calls import CallTimes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from chatserver.model import Delivery, MemberWatermarks
    from chatserver.storage.database import Database

SYNC_ROWS_MAX = 2500
"""Rows of one answer to a sync; the client syncs again for more, or fetches history by REST. A first sync of 5,000 rows
is two of them, four statements; 2,500 rows are 2 MB and 30 ms of this process."""

SYNC_BYTES_MAX = 2 << 20
"""Bytes of texts in one answer, a row more at most: 2,500 texts of the greatest length would be 160 MB."""

LIGHT_ROWS = 64
"""Rows that are brought to this server's connections by one query however large they are: 16 MiB at the most."""

LIGHT_BYTES = 4 << 20
"""Bytes of the texts of more rows than that. After lost hints there may be 2,000 of them, which could be 500 MiB."""

SYNC_CHATS_MAX = 1000
"""Chats of one answer to a sync: about 200 KB with two members each; older ones are in ``GET /api/chats``."""

SYNC_MEMBERS_MAX = 2000
"""Members in one answer to a sync, 600 KB at worst: what 1,000 direct chats have. The frame must fit into a
connection's outbox of 1 MiB, and twelve full groups would not."""


async def sync_user(
    database: Database,
    user_id: int,
    have: Mapping[int, int],
    *,
    limit: int = SYNC_ROWS_MAX,
    most_bytes: int = SYNC_BYTES_MAX,
    most_members: int = SYNC_MEMBERS_MAX,
) -> SyncResult:
    """Return what a client does not have yet, of the chats it names and of those it does not: two statements.

    Rows of a chat come oldest first from have_seq + 1 on (a chat that is not named: from its beginning), so that a
    client that syncs again while `more` has no holes. Chats the user is not in are ignored.

    Args:
        database: where to read.
        user_id: who syncs.
        have: chat_id -> the seq up to which the client has everything.
        limit: rows in all.
        most_bytes: of texts in all, as they are stored and in JSON; the row that passes it is the last one.
        most_members: members in all; the largest chats, beyond it, are returned without theirs.
    """
    known = clean(have)
    # Positions first: a row that is committed in between is then among the rows, or hinted.
    stands = await storage.stands(database, user_id, most_chats=SYNC_CHATS_MAX, most_members=most_members)
    rows, more = await storage.missed_rows(database, user_id, known, most_rows=limit, most_bytes=most_bytes)
    count = fitting([row.text for row in rows], most_bytes)
    return SyncResult(tuple(rows[:count]), tuple(stands), more or count < len(rows))


def clean(have: Mapping[int, int]) -> dict[int, int]:
    """Return what a client says it has, without what no chat can be and no seq can reach."""
    return {chat_id: min(max(seq, 0), 2**62) for chat_id, seq in have.items() if checks.is_id(chat_id)}


async def light(database: Database, ranges: Sequence[SeqRange]) -> list[SeqRange]:
    """Return those of the first ranges whose texts may be read at once; of the first one, if it is too much, a part.

    Args:
        database: where to look; few rows are not looked for.
        ranges: of what is to be read; not empty.
    """
    left = list(ranges)
    if sum(item.last_seq - item.first_seq + 1 for item in left) <= LIGHT_ROWS:
        return left
    async with database.connection(CallTimes("deliver")) as connection:
        while True:
            sizes = await messages.text_bytes(connection, left)
            chosen, size = [], 0
            for item in left:
                size += sizes.get(item.chat_id, 0)
                if size > LIGHT_BYTES:
                    break
                chosen.append(item)
            first = left[0]
            rows = first.last_seq - first.first_seq + 1
            if chosen or rows == 1:
                return chosen or [first]
            left = [SeqRange(first.chat_id, first.first_seq, first.first_seq + rows // 2 - 1)]


async def rows_for(database: Database, ranges: Sequence[SeqRange], user_ids: Sequence[int]) -> list[Delivery]:
    """Return the rows of hinted ranges, each with those of `user_ids` who may see it; one query for many chats.

    Args:
        database: where to read.
        ranges: as hinted. Rows that do not exist are left out.
        user_ids: users connected to this server that are interested in these chats.

    Returns:
        Ordered by chat and seq; rows that none of the users may see are left out.
    """
    if not ranges or not user_ids:
        return []
    async with database.connection(CallTimes("deliver")) as connection:
        return await messages.deliveries(connection, ranges, user_ids)


async def positions(database: Database, user_ids: Sequence[int]) -> dict[int, dict[int, int]]:
    """Return {user_id: {chat_id: the last seq that user may see}} for all chats of the users, left ones included.

    For a user that connects, and every 5 s for all connected users while hints are lost: it shows new rows and
    chats alike.
    """
    return await storage.positions(database, user_ids) if user_ids else {}


async def joined(database: Database, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return {(user_id, chat_id): (the seq after which they joined, the chat's last seq)} of those who are members.

    Former members are returned too.
    """
    return await storage.joined(database, places) if places else {}


async def audience_of(
    database: Database, chat_ids: Sequence[int]
) -> dict[int, tuple[tuple[int, ...], list[tuple[int, int]], list[int]]]:
    """Return {chat_id: its current members, the pairs of them with a block, and those who hide what they read}: ids."""
    async with database.connection() as connection:
        found = await chats.members_of(connection, chat_ids)
    return {
        chat_id: (
            tuple(member.user_id for member in members),
            [(member.user_id, other_id) for member in members for other_id in member.blocks],
            [member.user_id for member in members if member.hides_read],
        )
        for chat_id, members in found.items()
    }


async def members_of(database: Database, chat_ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return {chat_id: ids of its current members}."""
    if not chat_ids:
        return {}
    async with database.connection() as connection:
        found = await chats.members_of(connection, chat_ids, viewer_ids=())
    return {chat_id: tuple(member.user_id for member in members) for chat_id, members in found.items()}


async def own_receipts_of(database: Database, user_ids: Sequence[int]) -> list[MemberWatermarks]:
    """Return the watermarks of users that only their own devices see, to recover after lost hints."""
    return await receipts.own_watermarks(database, user_ids) if user_ids else []


async def receipts_of(
    database: Database, chat_ids: Sequence[int], *, within_seconds: float | None = None
) -> list[MemberWatermarks]:
    """Return the watermarks of current members of these chats, to recover after lost hints.

    Args:
        database: where to read.
        chat_ids: the chats.
        within_seconds: only those that were raised within so many seconds; None: all.
    """
    if not chat_ids:
        return []
    if within_seconds is None:
        return await receipts.watermarks(database, chat_ids)
    return await receipts.raised_watermarks(database, chat_ids, within_seconds)
