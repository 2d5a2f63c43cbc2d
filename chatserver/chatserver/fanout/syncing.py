"""Answers the syncs of this server's connections, those that come together by the same few statements.

After a drain or a failure thousands of clients sync at once. Most of them miss little: for them one batch reads where
the chats stand, the members and the rows, each chat's once, however many of the clients are in it. A client with
many chats or a large hole is answered by itself, by statements that are planned for what it asks.
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from chatserver.fanout.hub import Hub
    from chatserver.model import Delivery, Member, SyncResult
    from chatserver.storage.database import Database
    from chatserver.storage.sync import Stand

BATCH_SYNCS = 32
"""Syncs of a batch at most: some 10 ms of this process, during which nobody else is served."""

BATCHES_AT_ONCE = 2
"""Each takes one connection of the pool; PostgreSQL works on one while this process works on the other."""

ALONE_AT_ONCE = 2
"""Syncs that are answered by themselves: each takes a connection, and 30 ms a thousand rows."""

USER_AT_ONCE = 4
"""Connections of a user whose sync is under way: one that does not read holds a few MB until it is closed."""

FEW_CHATS = 64
"""Chats of a user that syncs with others, as far as the hub or the client knows."""

FEW_ROWS = 100
"""Rows that a client may miss to sync with others."""

BATCH_ROWS = 1000
"""Rows of a batch: half of what the deliverer asks at a time. Who would go beyond it syncs alone."""


FEW_BYTES = 256 << 10
"""Bytes of texts that a client may miss to sync with others: FEW_ROWS of them may be 25 MiB."""

BATCH_BYTES = 2 << 20
"""Bytes of texts in the chats of a batch: as of a sync alone."""


class Answer(msgspec.Struct, frozen=True):
    """What a client missed, encoded.

    Attributes:
        rows: chat_id, seq and frame, the most recently active chat first, oldest first within each.
        chats: where its chats stand, as in ``synced``.
        more: the rows were cut off; ask again with the new have_seq values for the rest.
    """

    rows: Sequence[tuple[int, int, bytes]]
    chats: Sequence[msgspec.Raw]
    more: bool


class Question(msgspec.Struct, frozen=True):
    """Who syncs, and the highest seq it has of each chat that it knows."""

    user_id: int
    have: Mapping[int, int]


class Syncs:
    """The syncs of one server.

    Args:
        database: where to read.
        hub: knows how many chats its users have.
    """

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._together = Batches(self.answer_together, most=BATCH_SYNCS, at_once=BATCHES_AT_ONCE)
        self._alone = asyncio.Semaphore(ALONE_AT_ONCE)
        self._places = Places(1)
        self._users = Places(USER_AT_ONCE)

    def place_of(self, user_id: int) -> AbstractAsyncContextManager[object]:
        """Return what to hold while a connection of a user gets what it missed, up to the last row in its outbox."""
        return self._users.of(user_id)

    async def answer(self, user_id: int, have: Mapping[int, int]) -> Answer:
        """Return what a client does not have yet, as ``sync.sync_user`` does.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        if max(len(have), self._hub.count_chats(user_id)) <= FEW_CHATS:
            answer = await self._together.submit(Question(user_id, clean(have)))
            if answer is not None:
                return answer
        # One place at most for each user, however many devices sync: the others' turn comes soon.
        async with self._places.of(user_id), self._alone:
            return _encode(await sync_user(self._database, user_id, have), user_id)

    async def answer_together(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Answer many questions by one snapshot of the database; None: this one is to be answered alone."""
        user_ids = list({question.user_id for question in questions})
        async with self._database.snapshot() as connection:
            stands = await storage.stands_of_many(connection, user_ids, most_chats=SYNC_CHATS_MAX)
            holes = _choose(questions, stands)
            ranges = _ranges(hole for hole in holes if hole is not None)
            rows: list[Delivery] = []
            if ranges:
                rows, sizes = await messages.light_deliveries(connection, ranges, user_ids, most_bytes=BATCH_BYTES)
                holes = _light(holes, sizes)
            told = {
                user_id: _told(stands.get(user_id, ()))
                for user_id in {
                    question.user_id for question, hole in zip(questions, holes, strict=True) if hole is not None
                }
            }
            chat_ids = sorted({chat_id for chosen in told.values() for chat_id in chosen})
            members = await chats.members_of(connection, chat_ids, user_ids) if chat_ids else {}
        rendering = _Rendering(rows, members)
        return [
            None if hole is None else rendering.answer(question.user_id, stands.get(question.user_id, ()), hole, told)
            for question, hole in zip(questions, holes, strict=True)
        ]


def _choose(questions: Sequence[Question], stands: Mapping[int, Sequence[Stand]]) -> list[list[SeqRange] | None]:
    """Return what each client misses, chat by chat; None: too much to be answered with others."""
    chosen: list[list[SeqRange] | None] = []
    room = BATCH_ROWS
    for question in questions:
        mine = stands.get(question.user_id, ())
        hole = [
            SeqRange(stand.chat_id, have_seq + 1, stand.last_seq)
            for stand in mine
            if (have_seq := max(stand.joined_seq, question.have.get(stand.chat_id, 0))) < stand.last_seq
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


def _told(stands: Sequence[Stand]) -> set[int]:
    """Return the chats whose members are told: the smallest first, as many as fit."""
    told: set[int] = set()
    members = 0
    # Sorting keeps the order of those of one size.
    for stand in sorted((stand for stand in stands if not stand.gone), key=lambda stand: stand.size):
        members += stand.size
        if members > SYNC_MEMBERS_MAX:
            break
        told.add(stand.chat_id)
    return told


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
        self, user_id: int, stands: Sequence[Stand], hole: Sequence[SeqRange], told: Mapping[int, set[int]]
    ) -> Answer:
        """Return what one client gets."""
        rows = [
            (missed.chat_id, delivery.row.seq, frame)
            for missed in hole
            for delivery, frame in self._rows.get(missed.chat_id, ())
            if delivery.row.seq >= missed.first_seq and user_id in delivery.user_ids
        ]
        chosen = [self._chat(stand, user_id, is_told=stand.chat_id in told[user_id]) for stand in stands]
        return Answer(rows, chosen, more=False)

    def _chat(self, stand: Stand, user_id: int, *, is_told: bool) -> msgspec.Raw:
        members = () if stand.gone else self._members.get(stand.chat_id, ()) if is_told else None
        # The same for all of them, but for those between whom a block stands.
        own = user_id if stand.chat_id in self._blocks else 0
        key = (stand.chat_id, stand.last_seq, stand.gone, is_told, own)
        found = self._chats.get(key)
        if found is None:
            found = self._chats[key] = view_synced(stand.chat_id, stand.last_seq, members, user_id)
        return found


def _encode(result: SyncResult, user_id: int) -> Answer:
    return Answer(
        frames_of(result.rows),
        [view_synced(chat.chat_id, chat.last_seq, chat.members, user_id) for chat in result.chats],
        result.more,
    )
