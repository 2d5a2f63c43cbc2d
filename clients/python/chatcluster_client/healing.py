"""Fills gaps in the rows of chats by REST, which decides what this user may see."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from chatcluster_client.frames import ChatPosition, item
from chatcluster_client.model import Item, Problem, wait_seconds
from chatcluster_client.order import RowOrder
from chatcluster_client.rest import RestClient

FILL_DELAY_SECONDS = 0.2
"""Most gaps close when an ack or a frame arrives; only rows that are still missing after this time are fetched."""

GONE_STATUSES = frozenset({403, 404})
"""Statuses after which another request for a chat's rows is useless."""


class _ChatsPage(msgspec.Struct, frozen=True):
    chats: list[ChatPosition]
    next_cursor: str | None = None


class Healer:
    """Runs one task for each chat with a gap.

    Args:
        rest: Where rows are fetched.
        order: The rows delivered so far; filled here.
        deliver: Called with rows that can be delivered.
        spawn: Starts a supervised task.
    """

    def __init__(
        self,
        rest: RestClient,
        order: RowOrder,
        deliver: Callable[[list[Item]], None],
        spawn: Callable[[Any], asyncio.Task[None]],
    ) -> None:
        self._rest = rest
        self._order = order
        self._deliver = deliver
        self._spawn = spawn
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def fill(self, chat_id: int) -> None:
        """Fill a chat's gaps soon, unless a task does it already."""
        if chat_id not in self._tasks:
            self._tasks[chat_id] = self._spawn(self._fill(chat_id))

    def fill_up_to(self, chat_id: int, last_seq: int) -> None:
        """Fetch the missing rows of a chat up to a seq."""
        if self._order.have.get(chat_id, 0) < last_seq:
            self.fill(chat_id)

    async def fill_all(self) -> None:
        """List the user's chats by REST, page by page, and fetch the missing rows of each."""
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            try:
                page = msgspec.convert(await self._rest.chats(cursor), _ChatsPage)
            except (Problem, msgspec.ValidationError) as error:
                await asyncio.sleep(wait_seconds(error))
                continue
            for chat in page.chats:
                self.fill_up_to(chat.chat_id, chat.last_seq)
            cursor = page.next_cursor
            # A repeated cursor would loop for ever.
            if cursor is None or cursor in seen:
                return
            seen.add(cursor)

    async def settled(self) -> None:
        """Wait until no gap is being filled."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def fill_some(self, chat_id: int) -> bool:
        """Fetch missing rows, and return whether some are still missing."""
        rows: list[Item] = []
        more = False
        before = self._order.have.get(chat_id, 0)
        # Rows that arrive during the request may be newer than its answer, and the gap before them may still be filled.
        newest_held = self._order.newest_held(chat_id)
        try:
            raw, more = await self._rest.history_page(chat_id, after_seq=before)
            rows = [item(row, self._rest.user_id) for row in raw]
        except (Problem, msgspec.ValidationError) as error:
            if not isinstance(error, Problem) or error.status not in GONE_STATUSES:
                await asyncio.sleep(wait_seconds(error))
                return True
            # No longer this user's chat: the rows from the socket are all there are.
        self._deliver(self._order.fill(chat_id, rows))
        if not rows:
            self._deliver(self._order.skip_hole(chat_id, newest_held))
        missing = more or self._order.is_waiting(chat_id)
        if missing and self._order.have.get(chat_id, 0) == before:
            # No progress: the server reports more rows but does not return them.
            await asyncio.sleep(FILL_DELAY_SECONDS)
        return missing

    async def _fill(self, chat_id: int) -> None:
        try:
            await asyncio.sleep(FILL_DELAY_SECONDS)
            while await self.fill_some(chat_id):
                pass
        finally:
            # Without an await after the last check, so that a gap that opens now starts a new task.
            del self._tasks[chat_id]
