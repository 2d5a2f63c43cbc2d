"""Long polls: a few for each user, and one query for all polls of a user that wake together."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from chatserver.batches import Batches
from chatserver.errors import ChatError, RateLimited, ServiceUnavailable, Unauthenticated
from chatserver.messaging import feed
from chatserver.messaging.feed import FeedQuery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from chatserver.accounts.devices import Devices
    from chatserver.fanout.hub import Hub
    from chatserver.fanout.waiting import LongPoll
    from chatserver.model import Page, Principal
    from chatserver.storage.database import Database

POLLS_OF_A_USER = 16
"""Long polls of one user that may wait on this server: one for each of the user's devices, with room."""

RETRY_SECONDS = 5
"""Retry-After of a poll that is one too many: some of those that wait have ended by then."""


class Polls:
    """The long polls of one server.

    Args:
        database: where to read.
        hub: wakes them.
        devices: checked again for each poll that has waited.
        expect: has the hub follow a user's chats, so that their rows wake the polls.
        is_refusing: returns whether the server drains, so that no poll may wait.
        on_refused: called with ``polls`` for each poll that is one too many, for metrics.
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        devices: Devices,
        *,
        expect: Callable[[int], Awaitable[None]],
        is_refusing: Callable[[], bool],
        on_refused: Callable[[str], None],
    ) -> None:
        self._database = database
        self._hub = hub
        self._devices = devices
        self._expect = expect
        self._is_refusing = is_refusing
        self._on_refused = on_refused
        # The polls of a user keep it alive.
        self._readers: WeakValueDictionary[int, Batches[FeedQuery, Page | ChatError]] = WeakValueDictionary()

    async def wait(self, caller: Principal, query: FeedQuery, wait_seconds: float) -> Page:
        """Read a page; while it is empty, again whenever a row arrives, until the time is over or the server drains.

        Raises:
            Unauthenticated: the device was signed out meanwhile.
            RateLimited: too many polls of this user wait already.
            ChatError: as of ``feed.read_feed``.
        """
        user_id = caller.user_id
        if self._hub.polls.count(user_id) >= POLLS_OF_A_USER:
            self._on_refused("polls")
            raise RateLimited(
                f"{POLLS_OF_A_USER} long polls of yours wait already; end one, or poll without 'wait'.",
                retry_after_seconds=RETRY_SECONDS,
            )
        deadline = time.monotonic() + wait_seconds
        poll = self._hub.add_poll(user_id, caller.device_id)
        try:
            await self._expect(user_id)
            page = await self._read_page(caller, poll, query)
            while not page.rows and (left_seconds := deadline - time.monotonic()) > 0 and not self._is_refusing():
                try:
                    async with asyncio.timeout(left_seconds):
                        await poll.woken.wait()
                except TimeoutError:
                    return page
                query = FeedQuery(page.next_since, query.limit, query.events)
                page = await self._read_page(caller, poll, query)
                if page.rows:
                    # After the read: no row of after a sign-out is returned, whichever hint arrived first.
                    await self._devices.check_signed_in(caller.device_id)
            return page
        finally:
            self._hub.remove_poll(poll, time.monotonic())

    async def _read_page(self, caller: Principal, poll: LongPoll, query: FeedQuery) -> Page:
        # Cleared before the page is read: a row that arrives meanwhile starts the next round.
        poll.woken.clear()
        page = await self._reader(caller.user_id).submit(query)
        if self._devices.is_ended(caller.device_id):
            raise Unauthenticated
        if isinstance(page, ChatError):
            raise page
        return page

    def _reader(self, user_id: int) -> Batches[FeedQuery, Page | ChatError]:
        reader = self._readers.get(user_id)
        if reader is None:
            reader = Batches(functools.partial(self._read, user_id), most=POLLS_OF_A_USER)
            self._readers[user_id] = reader
        return reader

    async def _read(self, user_id: int, queries: Sequence[FeedQuery]) -> list[Page | ChatError]:
        """Read the pages of one user's polls: by one query where they wait for new rows, else one by one."""
        different = list(dict.fromkeys(queries))
        pages: dict[FeedQuery, Page | ChatError] = {}
        if len(different) > 1:
            pages.update(await feed.read_feeds(self._database, user_id, different))
        for query in different:
            if query not in pages:
                pages[query] = await self._read_one(user_id, query)
        return [pages[query] for query in queries]

    async def _read_one(self, user_id: int, query: FeedQuery) -> Page | ChatError:
        try:
            return await feed.read_feed(
                self._database, user_id, since=query.since, limit=query.limit, events=query.events
            )
        except ServiceUnavailable:
            raise
        except ChatError as error:
            # Only of this query: a cursor that is malformed, or expired.
            return error
