"""Semaphores per user, so that one user cannot occupy all places."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Places:
    """A semaphore for each user.

    Args:
        each: places of one user.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        # A user's entry exists while somebody holds a place or waits for one.
        self._users: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, user_id: int) -> asyncio.Semaphore:
        """Return the user's semaphore."""
        places = self._users.get(user_id)
        if places is None:
            places = self._users[user_id] = asyncio.Semaphore(self._each)
        return places
