"""Rows that this server has yet to deliver, as numbers: for each chat, how far they reach. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.model import SeqRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHAT_ROWS = 500
"""Rows of one chat that one query reads at most."""

QUERY_ROWS = 2000
"""Rows of all chats at which a query is full; large texts make it fewer."""


class PendingRows:
    """Chats with rows to deliver.

    Args:
        needed_after: returns the seq after which rows of a chat are needed here; None: nobody here follows it.
        wake: has the delivery loop run.
    """

    def __init__(self, needed_after: Callable[[int], int | None], wake: Callable[[], None]) -> None:
        self._needed_after = needed_after
        self.wake = wake
        self._last: dict[int, int] = {}
        # Chats whose rows could not be delivered, and how far they reach.
        self._failed: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._last)

    def add(self, ranges: Iterable[SeqRange]) -> None:
        """Have rows delivered as soon as possible."""
        for chat_range in ranges:
            self.reach(chat_range.chat_id, chat_range.last_seq)
            self.wake()

    def reach(self, chat_id: int, last_seq: int) -> None:
        """Have the rows of a chat up to a seq delivered when the delivery loop runs next."""
        self._last[chat_id] = max(last_seq, self._last.get(chat_id, 0))

    def next_ranges(self) -> list[SeqRange]:
        """Return what one query reads, and forget the chats of which nobody here needs rows."""
        ranges: list[SeqRange] = []
        rows = 0
        for chat_id, last_seq in list(self._last.items()):
            if chat_id in self._failed:
                self._failed[chat_id] = max(last_seq, self._failed[chat_id])
                del self._last[chat_id]
                continue
            after = self._needed_after(chat_id)
            if after is None or after >= last_seq:
                del self._last[chat_id]
                continue
            first, last = after + 1, min(last_seq, after + CHAT_ROWS)
            ranges.append(SeqRange(chat_id, first, last))
            rows += last - first + 1
            if rows >= QUERY_ROWS:
                break
        return ranges

    def put_off(self, chat_range: SeqRange) -> None:
        """Leave a chat whose rows could not be delivered out until ``retry``: it must not hold up the others."""
        self._failed[chat_range.chat_id] = self._last.pop(chat_range.chat_id, chat_range.last_seq)

    def retry(self) -> None:
        """Have the chats delivered that were put off."""
        failed, self._failed = self._failed, {}
        self.add(SeqRange(chat_id, last_seq, last_seq) for chat_id, last_seq in failed.items())
