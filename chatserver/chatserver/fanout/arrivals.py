"""Users who connect or poll: which chats they are in is read before, so that the rows of these chats reach them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatserver.batches import Batches
from chatserver.messaging import sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.fanout.pending_rows import PendingRows
    from chatserver.model import SeqRange
    from chatserver.storage.database import Database

USERS_TOGETHER = 100
"""Users whose chats one query reads: few enough that no user waits long for the others."""


class Arrivals:
    """Users whose chats are being read.

    Args:
        database: where memberships are.
        hub: the connections of this server.
        pending: the chats with rows to deliver.
        register: has hints for users sent to this server (``Bus.register``).
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        pending: PendingRows,
        register: Callable[[Collection[int]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._hub = hub
        self._pending = pending
        self._register = register
        self._batches = Batches(self._read, most=USERS_TOGETHER)
        # For each query that runs: how far chats were hinted since it began.
        self._hinted: list[dict[int, int]] = []

    def receive(self, ranges: Iterable[SeqRange]) -> None:
        """Take the rows of a hint: the snapshot of a running query may lack them."""
        if self._hinted:
            for chat_range in ranges:
                for hinted in self._hinted:
                    hinted[chat_range.chat_id] = max(chat_range.last_seq, hinted.get(chat_range.chat_id, 0))

    async def expect(self, user_id: int) -> None:
        """Have the hub follow all chats of a user; to be awaited before the user connects or polls.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        self._hub.expect(user_id, time.monotonic())
        if not self._hub.following.is_loaded(user_id):
            await self._batches.submit(user_id)

    async def _read(self, user_ids: Sequence[int]) -> list[None]:
        # What is committed after the query's snapshot is hinted after this line, and to this server.
        await self._register(user_ids)
        hinted: dict[int, int] = {}
        self._hinted.append(hinted)
        try:
            positions = await sync.positions(self._database, user_ids)
        finally:
            self._hinted = [other for other in self._hinted if other is not hinted]
        for user_id, chats in positions.items():
            for chat_id, last_seq in chats.items():
                self._hub.following.follow(user_id, chat_id, last_seq)
                if hinted.get(chat_id, 0) > last_seq:
                    self._pending.reach(chat_id, hinted[chat_id])
                    self._pending.wake()
            self._hub.following.set_loaded(user_id)
        return [None] * len(user_ids)
