"""Fills the holes in a chat's rows by REST, which is the authority on what this user may see."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from chatcluster_client.frames import ChatPosition, item
from chatcluster_client.model import Item, Problem, wait_seconds
from chatcluster_client.order import RowOrder
from chatcluster_client.rest import RestClient

HEAL_DELAY_SECONDS = 0.2
"""A hole in a chat's numbers is mostly an ack or a frame under way; ask REST only for what stays away."""

GONE_STATUSES = frozenset({403, 404})
"""Answers that asking again for a chat's rows will not change."""


class _ChatsPage(msgspec.Struct, frozen=True):
    chats: list[ChatPosition]
    next_cursor: str | None = None


class Healer:
    """One task for each chat with a hole.

    Args:
        rest: Where rows are fetched.
        order: What has been handed on; filled here.
        deliver: Takes the rows that can be handed on.
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

    def heal(self, chat_id: int) -> None:
        """Fill a chat's holes soon, if nobody is at it already."""
        if chat_id not in self._tasks:
            self._tasks[chat_id] = self._spawn(self._fill(chat_id))

    def heal_up_to(self, chat_id: int, last_seq: int) -> None:
        """Fetch what of a chat is missing up to a seq."""
        if self._order.have.get(chat_id, 0) < last_seq:
            self.heal(chat_id)

    async def heal_all(self) -> None:
        """Look at the user's chats by REST, page by page, and fill what is missing of each."""
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            try:
                page = msgspec.convert(await self._rest.chats(cursor), _ChatsPage)
            except (Problem, msgspec.ValidationError) as error:
                await asyncio.sleep(wait_seconds(error))
                continue
            for chat in page.chats:
                self.heal_up_to(chat.chat_id, chat.last_seq)
            cursor = page.next_cursor
            # A cursor that comes a second time would be followed for ever.
            if cursor is None or cursor in seen:
                return
            seen.add(cursor)

    async def settled(self) -> None:
        """Wait until no hole is being filled."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def fill_some(self, chat_id: int) -> bool:
        """Fetch rows that are missing, and return whether some still are."""
        rows: list[Item] = []
        more = False
        before = self._order.have.get(chat_id, 0)
        # What comes while REST is asked may be newer than its answer, and the hole before it still be filled.
        newest_held = self._order.newest_held(chat_id)
        try:
            raw, more = await self._rest.history_page(chat_id, after_seq=before)
            rows = [item(row, self._rest.user_id) for row in raw]
        except (Problem, msgspec.ValidationError) as error:
            if not isinstance(error, Problem) or error.status not in GONE_STATUSES:
                await asyncio.sleep(wait_seconds(error))
                return True
            # Not this user's chat any more: what the socket brought is all there will be.
        self._deliver(self._order.fill(chat_id, rows))
        if not rows:
            self._deliver(self._order.skip_hole(chat_id, newest_held))
        missing = more or self._order.is_waiting(chat_id)
        if missing and self._order.have.get(chat_id, 0) == before:
            # No progress: the server says that there is more and does not give it.
            await asyncio.sleep(HEAL_DELAY_SECONDS)
        return missing

    async def _fill(self, chat_id: int) -> None:
        try:
            await asyncio.sleep(HEAL_DELAY_SECONDS)
            while await self.fill_some(chat_id):
                pass
        finally:
            # In one step with the last look: a hole that opens now is healed anew.
            del self._tasks[chat_id]
