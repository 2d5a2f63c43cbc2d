"""All data of a user as lines of JSON, read page by page: in bounded memory, and without a long transaction.

Each line has what another call shows the user, so that an export shows nothing that they may not see.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from chatserver.errors import RateLimited, ServiceUnavailable
from chatserver.messaging import chats, stars
from chatserver.messaging.feed import PAGE_ROWS_MAX, read_feed
from chatserver.messaging.rendering import view_chat, view_device, view_star
from chatserver.messaging.rows import views_of
from chatserver.users import blocks, privacy, users
from chatserver.users.viewers import view_user
from chatserver.visibility import SELF

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from chatserver.accounts.devices import Devices
    from chatserver.model import Principal
    from chatserver.storage.database import Database

AT_ONCE: Final = 2
"""Exports that a server makes at once: each has one page of some megabytes in memory, and one call of the database."""

RETRY_SECONDS: Final = 60
"""Until another export can begin, if the number of them is what prevents it: nearly all are over by then."""

CHUNK_LINES: Final = 100
"""Lines that are encoded together: between two chunks other work has its turn."""


class Exports:
    """Exports of users' data.

    Args:
        database: where the data are.
        devices: whether the device that exports is still signed in.
    """

    def __init__(self, database: Database, devices: Devices) -> None:
        self._database = database
        self._devices = devices
        self._running: set[int] = set()

    @contextmanager
    def place(self, user_id: int) -> Iterator[None]:
        """Take a place for as long as an export runs.

        Raises:
            RateLimited: one of the user's runs already. ServiceUnavailable: AT_ONCE others do.
        """
        if user_id in self._running:
            detail = "An export of your data is already running. Wait for its end."
            raise RateLimited(detail, retry_after_seconds=RETRY_SECONDS)
        if len(self._running) >= AT_ONCE:
            detail = "Other users export their data at this moment. Try again later."
            raise ServiceUnavailable(detail, retry_after_seconds=RETRY_SECONDS)
        self._running.add(user_id)
        try:
            yield
        finally:
            self._running.discard(user_id)

    async def chunks(self, caller: Principal) -> AsyncIterator[bytes]:
        """Yield the lines of an export, some at a time; the last line is ``end``.

        Raises:
            Unauthenticated: the device was signed out meanwhile.
            ServiceUnavailable: the database is unavailable.
        """
        user_id = caller.user_id
        user = await users.get_user(self._database, user_id)
        settings = await privacy.get_privacy(self._database, user_id)
        devices = await self._devices.list_devices(user_id)
        yield _lines("profile", [view_user(user, SELF)])
        yield _lines("privacy", [settings])
        yield _lines("device", [view_device(device, current_device_id=caller.device_id) for device in devices])
        yield _lines("block", [{"user_id": other} for other in await blocks.list_blocked(self._database, user_id)])
        cursor: str | None = None
        while True:
            page = await chats.list_chats(self._database, user_id, limit=chats.LIST_MAX, cursor=cursor)
            yield _lines("chat", [view_chat(chat, user_id) for chat in page.chats])
            await self._devices.check_signed_in(caller.device_id)
            cursor = page.next_cursor
            if cursor is None:
                break
        while True:
            starred = await stars.list_stars(self._database, user_id, limit=chats.LIST_MAX, cursor=cursor)
            views = [view for star in starred.stars if (view := view_star(star)) is not None]
            yield _lines("star", views)
            await self._devices.check_signed_in(caller.device_id)
            cursor = starred.next_cursor
            if cursor is None:
                break
        since: str | None = None
        more = True
        while more:
            rows = await read_feed(self._database, user_id, since=since, limit=PAGE_ROWS_MAX, events=True)
            # The page may have been waited for, or read slowly.
            await self._devices.check_signed_in(caller.device_id)
            for first in range(0, len(rows.rows), CHUNK_LINES):
                yield _lines("row", views_of(rows.rows[first : first + CHUNK_LINES]))
            since, more = rows.next_since, rows.more
        yield _lines("end", [{"next_since": since}])


def _lines(kind: str, data: Iterable[object]) -> bytes:
    """Return a line for each datum, all of one type."""
    return b"".join(msgspec.json.encode({"type": kind, "data": datum}) + b"\n" for datum in data)
