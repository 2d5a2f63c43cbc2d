"""Brings what this server has stored to its own connections: the rows are at hand, and need not be read again.

A batch is pushed when nothing is missing before it. Where rows of other servers are, and whenever the fate of a batch
is unknown, its hint says where to look, as for everybody else's.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from chatserver.fanout.connection import PushedRow
from chatserver.messaging.rendering import frame_of_stored
from chatserver.model import SeqRange
from chatserver.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.metrics import Metrics
    from chatserver.model import Status
    from chatserver.storage.messages import AppendResult, NewMessage


class Echo:
    """Own batches on their way.

    Args:
        hub: whose connections get the rows.
        metrics: told how long after the commit that was.
    """

    def __init__(self, hub: Hub, metrics: Metrics) -> None:
        self._hub = hub
        self._metrics = metrics
        self._held: dict[int, SeqRange | None] = {}

    def begin(self, chat_ids: Collection[int]) -> None:
        """Keep back the hints of these chats' batches until ``end``; no chat is in two batches at a time."""
        self._held.update(dict.fromkeys(chat_ids))

    def end(self, chat_ids: Collection[int]) -> list[SeqRange]:
        """Return what was hinted meanwhile and is needed still: the batch failed, or could not be pushed."""
        held = [self._held.pop(chat_id, None) for chat_id in chat_ids]
        return [chat_range for chat_range in held if chat_range is not None and self._is_needed(chat_range)]

    def settles(self, chat_range: SeqRange) -> bool:
        """Take the hint of an own batch; False when somebody has to look for its rows."""
        chat_id, first_seq, last_seq = chat_range.chat_id, chat_range.first_seq, chat_range.last_seq
        if chat_id not in self._held:
            return not self._is_needed(chat_range)
        held = self._held[chat_id]
        if held is not None:
            first_seq, last_seq = min(first_seq, held.first_seq), max(last_seq, held.last_seq)
        self._held[chat_id] = SeqRange(chat_id, first_seq, last_seq)
        return True

    def _is_needed(self, chat_range: SeqRange) -> bool:
        after_seq = self._hub.needed_after(chat_range.chat_id)
        # A chat that nobody follows yet may be about to be: what is hinted of it says where its rows begin.
        return after_seq is None or after_seq < chat_range.last_seq

    def deliver(self, messages: Sequence[NewMessage], results: Sequence[AppendResult]) -> list[SeqRange]:
        """Push the rows of a batch that has been committed.

        Returns:
            Rows that are needed here, but not before others.
        """
        left = []
        stored = [pair for pair in zip(messages, results, strict=True) if pair[1].outcome == "stored"]
        # Rows of a chat need not stand together in a batch.
        stored.sort(key=_chat_id)
        for chat_id, group in itertools.groupby(stored, key=_chat_id):
            rows = list(group)
            first, last = rows[0][1], rows[-1][1]
            if first.seq is None or last.seq is None:
                continue
            after_seq = self._hub.needed_after(chat_id)
            if after_seq is None:
                continue
            if after_seq < first.seq - 1:
                left.append(SeqRange(chat_id, first.seq, last.seq))
            else:
                self._push(chat_id, rows, first.member_ids or (), last.seq)
        return left

    def _push(
        self, chat_id: int, rows: Iterable[tuple[NewMessage, AppendResult]], member_ids: Sequence[int], last_seq: int
    ) -> None:
        readers = self._hub.followers_among(chat_id, member_ids)
        # With nobody else there, nobody has yet to read it.
        status: Status = "read" if len(member_ids) == 1 else "sent"
        now_us = time.time() * MICROSECONDS
        pushed = []
        for message, result in rows:
            seq, created_at_us = result.seq or 0, result.created_at_us or 0
            frame = frame_of_stored(message, result, status)
            pushed.append(PushedRow(chat_id, seq, message.sender_id, message.client_id, frame, readers))
            self._metrics.delivery_seconds.observe(max(0.0, (now_us - created_at_us) / MICROSECONDS))
        self._hub.push(chat_id, pushed, last_seq)


def _chat_id(pair: tuple[NewMessage, AppendResult]) -> int:
    return pair[0].chat_id
