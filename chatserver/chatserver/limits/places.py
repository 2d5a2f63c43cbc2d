"""Places that each user has of their own, so that nobody takes all there are."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Places:
    """So many places for each user.

    Args:
        each: places of one user.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        # Whoever has a place, or waits for one, keeps the user's entry.
        self._users: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, user_id: int) -> asyncio.Semaphore:
        """Return the user's places, of which to take one."""
        places = self._users.get(user_id)
        if places is None:
            places = self._users[user_id] = asyncio.Semaphore(self._each)
        return places
