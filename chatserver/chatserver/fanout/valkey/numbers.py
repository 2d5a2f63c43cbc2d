"""The numbers of the messages on one channel: Valkey counts them, so that the receiver notices those that are lost."""

from __future__ import annotations


class Numbers:
    """Up to which number the messages of a channel were received.

    Each message has the number after that of the one before. Where that is not so, messages were lost, or Valkey has
    lost its count and with it the registry.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def restart(self) -> None:
        """Take any number as the next one: the channel is subscribed again."""
        self._last = None

    def follows(self, number: int) -> bool:
        """Record a number; returns whether nothing is missing before it.

        7, 8, 10 -> True, True, False
        """
        is_next = self._last is None or number == self._last + 1
        self._last = number
        return is_next
