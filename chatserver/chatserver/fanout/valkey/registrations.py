"""What one server has registered on one Valkey: its users, or the users whom somebody here watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatserver.fanout.valkey import scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from chatserver.fanout.valkey.link import Link
    from chatserver.fanout.valkey.scripts import Kind

USERS_TOGETHER = 1000
"""Users whom one command registers: some milliseconds of Valkey, in which it does nothing else."""


class Registrations:
    """The entries of one kind.

    Args:
        kind: of the keys.
        prefix: of all keys.
        incarnation: name of this process among all servers.
        current: returns the users who are to be registered.
    """

    def __init__(self, kind: Kind, *, prefix: str, incarnation: str, current: Callable[[], Iterable[int]]) -> None:
        self._place = (prefix, kind, incarnation)
        self._current = current
        # Only one command at a time changes the entries: they take effect in the order in which they are sent.
        self._changing = asyncio.Lock()
        self._registered: set[int] = set()

    def forget_all(self) -> None:
        """Take nobody as registered: Valkey may be empty."""
        self._registered.clear()

    async def add(self, link: Link, user_ids: Collection[int]) -> None:
        """Register those of some users who are not.

        Raises:
            ServiceUnavailable: they may not be registered.
        """
        await self._add(link, [user_id for user_id in user_ids if user_id not in self._registered])

    async def add_all(self, link: Link) -> None:
        """Register everybody again, before the entries expire; raises as of ``add``."""
        await self._add(link, list(self._current()))

    async def _add(self, link: Link, user_ids: Collection[int]) -> None:
        ids = list(user_ids)
        for start in range(0, len(ids), USERS_TOGETHER):
            chunk = ids[start : start + USERS_TOGETHER]
            async with self._changing:
                packed = scripts.pack_users(chunk)
                await link.call("EVAL", scripts.REGISTER, 0, *self._place, packed, scripts.EXPIRE_SECONDS)
                self._registered.update(chunk)

    async def remove_gone(self, link: Link) -> None:
        """Remove the users who are no longer to be registered; raises as of ``add``."""
        async with self._changing:
            gone = self._registered.difference(self._current())
            if gone:
                # Whoever comes back meanwhile waits for the lock, and is then registered again.
                self._registered -= gone
                await link.call("EVAL", scripts.UNREGISTER, 0, *self._place, scripts.pack_users(gone))
