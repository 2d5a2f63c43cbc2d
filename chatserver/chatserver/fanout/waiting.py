"""The long polls that wait on this server, by user and device. No I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(eq=False, slots=True)
class LongPoll:
    """One poll that waits.

    Attributes:
        woken: set when a row arrives for its user, its device is signed out, or the server drains.
    """

    user_id: int
    device_id: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class LongPolls:
    """Index of the waiting polls by user and by device.

    Attributes:
        by_user: the polls of each user who has any.
    """

    def __init__(self) -> None:
        self.by_user: dict[int, set[LongPoll]] = {}
        self._by_device: dict[int, set[LongPoll]] = {}

    def add(self, user_id: int, device_id: int) -> LongPoll:
        """Register a poll."""
        poll = LongPoll(user_id, device_id)
        self.by_user.setdefault(user_id, set()).add(poll)
        self._by_device.setdefault(device_id, set()).add(poll)
        return poll

    def remove(self, poll: LongPoll) -> None:
        """Forget a poll."""
        for index, key in ((self.by_user, poll.user_id), (self._by_device, poll.device_id)):
            polls = index.get(key, set())
            polls.discard(poll)
            if not polls:
                index.pop(key, None)

    def count(self, user_id: int) -> int:
        """Return how many polls of a user wait."""
        return len(self.by_user.get(user_id, ()))

    def devices(self) -> list[int]:
        """Return the devices whose polls wait."""
        return list(self._by_device)

    def wake_devices(self, device_ids: Iterable[int]) -> None:
        """Wake the polls of devices that were signed out."""
        for device_id in device_ids:
            for poll in self._by_device.get(device_id, ()):
                poll.woken.set()

    def wake_all(self) -> None:
        """Have every poll return at once: the server drains."""
        for polls in self.by_user.values():
            for poll in polls:
                poll.woken.set()
