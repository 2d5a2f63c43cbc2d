"""Transactions of several statements that other servers have to hear of: their last one leaves the hint."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chatserver.hints import HINT_MAX_BYTES, Hint, MembershipChange
from chatserver.model import SeqRange
from chatserver.storage.hint_sweep import leave
from chatserver.storage.replicated import confirm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from chatserver.storage.database import Connection, Database


class Announcement:
    """What a transaction has for other servers to hear; nothing is sent unless it is committed.

    Args:
        origin: name of this server.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._ranges: list[SeqRange] = []
        self._members: list[MembershipChange] = []
        self._revoked: list[int] = []
        self._relations: list[tuple[int, int]] = []
        self._profiles: list[int] = []

    def row(self, chat_id: int, seq: int) -> None:
        """Announce a new row."""
        self._ranges.append(SeqRange(chat_id, seq, seq))

    def members(self, chat_id: int, user_ids: Iterable[int]) -> None:
        """Announce that these users joined or left a chat."""
        self._members.append(MembershipChange(chat_id, tuple(user_ids)))

    def revoked(self, device_ids: Iterable[int]) -> None:
        """Announce that these devices were signed out."""
        self._revoked += device_ids

    def relation(self, user_id: int, other_id: int) -> None:
        """Announce that what two users may see of each other changed."""
        self._relations.append((user_id, other_id))

    def profile(self, user_id: int) -> None:
        """Announce that a user's profile changed."""
        self._profiles.append(user_id)

    def hint(self) -> Hint | None:
        """Return all of it; None: there is nothing."""
        hint = Hint(
            self._origin,
            ranges=tuple(self._ranges),
            members=tuple(self._members),
            revoked=tuple(self._revoked),
            relations=tuple(self._relations),
            profiles=tuple(self._profiles),
        )
        return None if hint == Hint(self._origin) else hint


@asynccontextmanager
async def announced(database: Database, *, repeatable: bool = True) -> AsyncIterator[tuple[Connection, Announcement]]:
    """Lend a connection with a transaction around the block, and publish after its commit what the block announces.

    Args:
        database: where to write.
        repeatable: a block that announces nothing answers a request that an earlier one may have carried out, so that
            the commit waits for replicas as the earlier one's did. False: such a block only reads, or writes something
            each time.

    Raises:
        ServiceUnavailable: as of `Database.connection`. Should the transaction be committed all the same, its hint is
            published.
    """
    announcement, hints = Announcement(database.server_name), database.hints
    leaving = None
    try:
        async with database.transaction() as connection:
            yield connection, announcement
            hint = announcement.hint()
            if hint is None:
                if repeatable:
                    await confirm(connection)
            else:
                text = hint.encode_whole()
                leaving = hints.begin(is_small=len(text.encode()) <= HINT_MAX_BYTES)
                leaving.hint = hint
                await leave(connection, leaving.place, text)
    except BaseException as error:
        if leaving is not None:
            hints.failed(leaving, error)
        raise
    if leaving is not None:
        hints.committed(leaving)
