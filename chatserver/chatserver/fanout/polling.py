"""Long polls: few of each user, and one query for all of a user's that something wakes."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from chatserver.batches import Batches
from chatserver.errors import ChatError, RateLimited, ServiceUnavailable, Unauthenticated
from chatserver.messaging import feed
from chatserver.messaging.feed import FeedQuestion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from chatserver.accounts.devices import Devices
    from chatserver.fanout.hub import Hub
    from chatserver.fanout.waiting import LongPoll
    from chatserver.model import Page, Principal
    from chatserver.storage.database import Database

POLLS_OF_A_USER = 16
"""Long polls of one user that may wait on this server: one of each of a person's devices, with room."""

RETRY_SECONDS = 5
"""Retry-After of one more: some of those that wait have ended by then."""


class Polls:
    """The long polls of one server.

    Args:
        database: where to read.
        hub: wakes them.
        devices: asked again for each poll that has waited.
        learn: finds out which chats a user is in, so that their rows wake the polls.
        is_refusing: whether the server leaves, so that no poll shall wait.
        on_refused: told ``polls`` for each poll that is one too many, for metrics.
    """

    def __init__(
        self,
        database: Database,
        hub: Hub,
        devices: Devices,
        *,
        learn: Callable[[int], Awaitable[None]],
        is_refusing: Callable[[], bool],
        on_refused: Callable[[str], None],
    ) -> None:
        self._database = database
        self._hub = hub
        self._devices = devices
        self._learn = learn
        self._is_refusing = is_refusing
        self._on_refused = on_refused
        # A user's is kept by their polls.
        self._readers: WeakValueDictionary[int, Batches[FeedQuestion, Page | ChatError]] = WeakValueDictionary()

    async def wait(self, caller: Principal, question: FeedQuestion, wait_seconds: float) -> Page:
        """Read a page; while it is empty, read again whenever something arrives, until the time is over or a drain.

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
            await self._learn(user_id)
            page = await self._read_page(caller, poll, question)
            while not page.rows and (left_seconds := deadline - time.monotonic()) > 0 and not self._is_refusing():
                try:
                    async with asyncio.timeout(left_seconds):
                        await poll.woken.wait()
                except TimeoutError:
                    return page
                question = FeedQuestion(page.next_since, question.limit, question.events)
                page = await self._read_page(caller, poll, question)
                if page.rows:
                    # After the read: no row from after a sign-out is handed out, whichever news came first.
                    await self._devices.check_signed_in(caller.device_id)
            return page
        finally:
            self._hub.remove_poll(poll, time.monotonic())

    async def _read_page(self, caller: Principal, poll: LongPoll, question: FeedQuestion) -> Page:
        # Cleared before the page is read: what arrives meanwhile is seen by the next round.
        poll.woken.clear()
        page = await self._reader(caller.user_id).submit(question)
        if self._devices.is_ended(caller.device_id):
            raise Unauthenticated
        if isinstance(page, ChatError):
            raise page
        return page

    def _reader(self, user_id: int) -> Batches[FeedQuestion, Page | ChatError]:
        reader = self._readers.get(user_id)
        if reader is None:
            reader = Batches(functools.partial(self._read, user_id), most=POLLS_OF_A_USER)
            self._readers[user_id] = reader
        return reader

    async def _read(self, user_id: int, questions: Sequence[FeedQuestion]) -> list[Page | ChatError]:
        """Answer polls of one user: together where they wait for what is new, else each different one by itself."""
        different = list(dict.fromkeys(questions))
        pages: dict[FeedQuestion, Page | ChatError] = {}
        if len(different) > 1:
            pages.update(await feed.read_feeds(self._database, user_id, different))
        for question in different:
            if question not in pages:
                pages[question] = await self._read_one(user_id, question)
        return [pages[question] for question in questions]

    async def _read_one(self, user_id: int, question: FeedQuestion) -> Page | ChatError:
        try:
            return await feed.read_feed(
                self._database, user_id, since=question.since, limit=question.limit, events=question.events
            )
        except ServiceUnavailable:
            raise
        except ChatError as error:
            # It is this question's: a cursor that is malformed, or expired.
            return error
