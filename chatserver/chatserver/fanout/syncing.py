"""Syncs of this server's connections; those that arrive together share a few statements.

After a drain or a failure thousands of clients sync at the same time. Most of them miss little: one batch reads the
state of their chats, the members and the rows, each chat once, however many of the clients are in it. A client with
many chats or many missed rows is answered alone, by statements that are planned for its request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from chatserver.batches import Batches
from chatserver.limits.places import Places
from chatserver.messaging.rendering import view_synced
from chatserver.messaging.rows import frame_or_none, frames_of
from chatserver.messaging.sync import SYNC_CHATS_MAX, SYNC_MEMBERS_MAX, clean, sync_user
from chatserver.model import SeqRange
from chatserver.storage import chats, messages
from chatserver.storage import sync as storage
from chatserver.storage.calls import CallTimes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from chatserver.fanout.hub import Hub
    from chatserver.model import Delivery, Member, SyncResult
    from chatserver.storage.database import Database
    from chatserver.storage.sync import Stand

BATCH_SYNCS = 32
"""Syncs of a batch at most: about 10 ms of this process, during which no other client is served."""

BATCHES_AT_ONCE = 2
"""Each takes one connection of the pool; PostgreSQL works on one while this process works on the other."""

ALONE_AT_ONCE = 2
"""Syncs that are answered alone at the same time: each takes a connection, and 30 ms for a thousand rows."""

USER_AT_ONCE = 4
"""Connections of a user that sync at the same time: one that does not read uses a few MB until it is closed."""

FEW_CHATS = 64
"""Chats that a user may have to sync with others, as far as the hub or the client knows."""

FEW_ROWS = 100
"""Rows that a client may miss to sync with others."""

BATCH_ROWS = 1000
"""Rows of a batch: half of what delivery reads by one query. A client beyond it syncs alone."""

FEW_BYTES = 256 << 10
"""Bytes of texts that a client may miss to sync with others: FEW_ROWS of them may be 25 MiB."""

BATCH_BYTES = 2 << 20
"""Bytes of texts in the chats of a batch: the same as for a sync alone."""


class SyncAnswer(msgspec.Struct, frozen=True):
    """What a client missed, encoded.

    Attributes:
        rows: chat_id, seq and frame, the most recently active chat first, oldest first within each.
        chats: the state of its chats, as in ``synced``.
        more: the rows were cut off; a sync with the new have_seq values gets the rest.
    """

    rows: Sequence[tuple[int, int, bytes]]
    chats: Sequence[msgspec.Raw]
    more: bool


class SyncRequest(msgspec.Struct, frozen=True):
    """A client that syncs, and the highest seq it has of each chat that it knows."""

    user_id: int
    have: Mapping[int, int]


class Syncs:
    """The syncs of one server.

    Args:
        database: where to read.
        hub: knows how many chats users have.
    """

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._together = Batches(self.answer_together, most=BATCH_SYNCS, at_once=BATCHES_AT_ONCE)
        self._alone = asyncio.Semaphore(ALONE_AT_ONCE)
        self._places = Places(1)
        self._users = Places(USER_AT_ONCE)

    def place_of(self, user_id: int) -> AbstractAsyncContextManager[object]:
        """Return a place to hold while a connection gets the rows it missed, until the last one is in its outbox."""
        return self._users.of(user_id)

    async def answer(self, user_id: int, have: Mapping[int, int]) -> SyncAnswer:
        """Return what a client does not have yet, as ``sync.sync_user`` does.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        if max(len(have), len(self._hub.following.chats_of(user_id))) <= FEW_CHATS:
            answer = await self._together.submit(SyncRequest(user_id, clean(have)))
            if answer is not None:
                return answer
        # One place for each user, however many devices sync, so that others do not wait long.
        async with self._places.of(user_id), self._alone:
            return _encode(await sync_user(self._database, user_id, have), user_id)

    async def answer_together(self, requests: Sequence[SyncRequest]) -> list[SyncAnswer | None]:
        """Answer many requests by one snapshot of the database; None: this one is to be answered alone."""
        user_ids = list({request.user_id for request in requests})
        async with self._database.snapshot(CallTimes("sync")) as connection:
            stands = await storage.stands_of_many(connection, user_ids, most_chats=SYNC_CHATS_MAX)
            holes = _choose(requests, stands)
            ranges = _ranges(hole for hole in holes if hole is not None)
            rows: list[Delivery] = []
            if ranges:
                rows, sizes = await messages.light_deliveries(connection, ranges, user_ids, most_bytes=BATCH_BYTES)
                holes = _light(holes, sizes)
            shown = {
                user_id: _chats_with_members(stands.get(user_id, ()))
                for user_id in {
                    request.user_id for request, hole in zip(requests, holes, strict=True) if hole is not None
                }
            }
            chat_ids = sorted({chat_id for chosen in shown.values() for chat_id in chosen})
            members = await chats.members_of(connection, chat_ids, user_ids) if chat_ids else {}
        rendering = _Rendering(rows, members)
        return [
            None if hole is None else rendering.answer(request.user_id, stands.get(request.user_id, ()), hole, shown)
            for request, hole in zip(requests, holes, strict=True)
        ]


def _choose(requests: Sequence[SyncRequest], stands: Mapping[int, Sequence[Stand]]) -> list[list[SeqRange] | None]:
    """Return what each client misses, chat by chat; None: too much to be answered with others."""
    chosen: list[list[SeqRange] | None] = []
    room = BATCH_ROWS
    for request in requests:
        mine = stands.get(request.user_id, ())
        hole = [
            SeqRange(stand.chat_id, have_seq + 1, stand.last_seq)
            for stand in mine
            if (have_seq := max(stand.joined_seq, request.have.get(stand.chat_id, 0))) < stand.last_seq
        ]
        size = sum(missed.last_seq - missed.first_seq + 1 for missed in hole)
        fits = size <= min(FEW_ROWS, room) and len(mine) < SYNC_CHATS_MAX
        room -= size if fits else 0
        chosen.append(hole if fits else None)
    return chosen


def _light(holes: Sequence[list[SeqRange] | None], sizes: Mapping[int, int]) -> list[list[SeqRange] | None]:
    """Leave out the holes whose chats hold too much text.

    Args:
        holes: as of `_choose`.
        sizes: {chat_id: bytes of the texts that anybody misses of it} of the chats of which rows were read. The others
            are too large; or nobody may see what is there, which is so rare that it is no case of its own.
    """
    too_large = FEW_BYTES + 1
    return [
        None if hole is None or sum(sizes.get(missed.chat_id, too_large) for missed in hole) > FEW_BYTES else hole
        for hole in holes
    ]


def _chats_with_members(stands: Sequence[Stand]) -> set[int]:
    """Return the chats whose members are sent: the smallest first, as many as fit."""
    shown: set[int] = set()
    members = 0
    # Sorting keeps the order of those of one size.
    for stand in sorted((stand for stand in stands if not stand.gone), key=lambda stand: stand.size):
        members += stand.size
        if members > SYNC_MEMBERS_MAX:
            break
        shown.add(stand.chat_id)
    return shown


def _ranges(holes: Iterable[Sequence[SeqRange]]) -> list[SeqRange]:
    """Return one range a chat that holds all that anybody misses of it.

    Example:
        >>> _ranges([[SeqRange(7, 4, 6)], [SeqRange(7, 6, 8), SeqRange(9, 1, 1)]])
        [SeqRange(chat_id=7, first_seq=4, last_seq=8), SeqRange(chat_id=9, first_seq=1, last_seq=1)]
    """
    found: dict[int, tuple[int, int]] = {}
    for hole in holes:
        for missed in hole:
            first, last = found.get(missed.chat_id, (missed.first_seq, missed.last_seq))
            found[missed.chat_id] = (min(first, missed.first_seq), max(last, missed.last_seq))
    return [SeqRange(chat_id, first, last) for chat_id, (first, last) in found.items()]


class _Rendering:
    """The rows and chats of one batch, each encoded once for all who get it."""

    def __init__(self, rows: Iterable[Delivery], members: Mapping[int, tuple[Member, ...]]) -> None:
        self._rows: dict[int, list[tuple[Delivery, bytes]]] = {}
        for delivery in rows:
            frame = frame_or_none(delivery.row)
            if frame is not None:
                self._rows.setdefault(delivery.row.chat_id, []).append((delivery, frame))
        self._members = members
        self._blocks = {chat_id for chat_id, found in members.items() for member in found if member.blocks}
        self._chats: dict[tuple[int, int, bool, bool, int], msgspec.Raw] = {}

    def answer(
        self, user_id: int, stands: Sequence[Stand], hole: Sequence[SeqRange], shown: Mapping[int, set[int]]
    ) -> SyncAnswer:
        """Return what one client gets."""
        rows = [
            (missed.chat_id, delivery.row.seq, frame)
            for missed in hole
            for delivery, frame in self._rows.get(missed.chat_id, ())
            if delivery.row.seq >= missed.first_seq and user_id in delivery.user_ids
        ]
        chosen = [self._chat(stand, user_id, with_members=stand.chat_id in shown[user_id]) for stand in stands]
        return SyncAnswer(rows, chosen, more=False)

    def _chat(self, stand: Stand, user_id: int, *, with_members: bool) -> msgspec.Raw:
        members = () if stand.gone else self._members.get(stand.chat_id, ()) if with_members else None
        # The same for all of them, but for those between whom a block stands.
        own = user_id if stand.chat_id in self._blocks else 0
        key = (stand.chat_id, stand.last_seq, stand.gone, with_members, own)
        found = self._chats.get(key)
        if found is None:
            found = self._chats[key] = view_synced(stand.chat_id, stand.last_seq, members, user_id)
        return found


def _encode(result: SyncResult, user_id: int) -> SyncAnswer:
    return SyncAnswer(
        frames_of(result.rows),
        [view_synced(chat.chat_id, chat.last_seq, chat.members, user_id) for chat in result.chats],
        result.more,
    )
