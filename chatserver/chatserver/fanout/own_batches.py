"""Delivery of messages that this server stores itself: the writer has their rows, so nobody reads them again.

A batch is pushed when no row is missing before it. Otherwise, and whenever its outcome is unknown, its hint says which
rows to read, as with batches of other servers.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from chatserver.fanout import batch_rows
from chatserver.hints import ChatRows, HintRow
from chatserver.messaging.row_views import frame_of_stored
from chatserver.model import SeqRange
from chatserver.supervision import caught

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.fanout.pending_rows import PendingRows
    from chatserver.fanout.rendered_rows import RenderedRows
    from chatserver.metrics.delivery import DeliveryMetrics
    from chatserver.model import Status
    from chatserver.storage.messages import AppendResult, NewMessage

MOST_UNHEARD: Final = 10_000
"""Batches whose hints may be awaited: more are not, while hints do not come."""


class OwnBatches:
    """The batches of this server's writer, whose ``CommitListener`` it is.

    Args:
        hub: the connections of this server.
        pending: gets the rows that have to be read.
        metrics: gets the seconds until rows are queued.
        rendered: gets what the hints of the batches may carry; None: the bus carries no rows.
    """

    def __init__(
        self, hub: Hub, pending: PendingRows, metrics: DeliveryMetrics, rendered: RenderedRows | None = None
    ) -> None:
        self._hub = hub
        self._pending = pending
        self._metrics = metrics
        self._rendered = rendered
        # The chats of batches that are being stored, and what was hinted of them meanwhile.
        self._held: dict[int, SeqRange | None] = {}
        # The first rows (chat and seq) of batches that are stored and whose hint has not come yet, and when they were
        # committed.
        self._unheard: dict[tuple[int, int], float] = {}

    # --- the writer's listener

    def begin(self, messages: Sequence[NewMessage]) -> None:
        """Hold the hints of the batch back: its rows will be available without a query."""
        self._held.update(dict.fromkeys([message.chat_id for message in messages]))

    def committed(self, messages: Sequence[NewMessage], results: Sequence[AppendResult]) -> None:
        """Push the rows of the batch; those that others are missing before are read."""
        # The answer of the database has just been read: the commit was a moment ago, by this server's own clock.
        committed_at = time.monotonic()
        try:
            self._push_batch(messages, results, committed_at)
        except Exception as error:  # noqa: BLE001 - the rows are stored, and their hint has them read
            caught("own_batch_not_delivered", error)
        self._expect_hint(messages, results, committed_at)
        self._release(messages)

    def failed(self, messages: Sequence[NewMessage]) -> None:
        """Have the rows read that were hinted: the batch may have been committed."""
        self._release(messages)

    def _expect_hint(
        self, messages: Sequence[NewMessage], results: Sequence[AppendResult], committed_at: float
    ) -> None:
        """Have the time of the batch's hint taken, which may have come already."""
        for message, result in zip(messages, results, strict=True):
            if result.outcome == "stored" and result.seq is not None:
                if len(self._unheard) >= MOST_UNHEARD:
                    self._unheard.clear()
                held = self._held.get(message.chat_id)
                if held is not None and held.first_seq <= result.seq <= held.last_seq:
                    # The commit itself sent the hint, which was faster than its answer.
                    self._metrics.bus_lag_seconds.observe(0.0)
                    return
                # The first row of a batch stands for it: one hint may be of several batches.
                self._unheard[message.chat_id, result.seq] = committed_at
                return

    def hints_were_missed(self) -> None:
        """Wait for no hint of before: the bus begins to listen only now."""
        self._unheard.clear()

    def _release(self, messages: Sequence[NewMessage]) -> None:
        for chat_id in {message.chat_id for message in messages}:
            held = self._held.pop(chat_id, None)
            if held is not None and self._hub.following.may_need(chat_id, held.last_seq):
                self._pending.add((held,))

    # --- the hints of these batches

    def receive(self, ranges: Iterable[SeqRange]) -> None:
        """Take the rows of the hint of an own batch; those that are not pushed otherwise are read."""
        for chat_range in ranges:
            self._time(chat_range)
            if chat_range.chat_id in self._held:
                self._hold(chat_range)
            elif self._hub.following.may_need(chat_range.chat_id, chat_range.last_seq):
                self._pending.add((chat_range,))

    def _time(self, chat_range: SeqRange) -> None:
        first_seq = chat_range.first_seq
        for seq in range(first_seq, min(chat_range.last_seq, first_seq + MOST_UNHEARD) + 1):
            committed_at = self._unheard.pop((chat_range.chat_id, seq), None)
            if committed_at is not None:
                self._metrics.bus_lag_seconds.observe(time.monotonic() - committed_at)

    def _hold(self, chat_range: SeqRange) -> None:
        chat_id, first_seq, last_seq = chat_range.chat_id, chat_range.first_seq, chat_range.last_seq
        held = self._held[chat_id]
        if held is not None:
            first_seq, last_seq = min(first_seq, held.first_seq), max(last_seq, held.last_seq)
        self._held[chat_id] = SeqRange(chat_id, first_seq, last_seq)

    # --- pushing

    def _push_batch(self, messages: Sequence[NewMessage], results: Sequence[AppendResult], committed_at: float) -> None:
        stored = [pair for pair in zip(messages, results, strict=True) if pair[1].outcome == "stored"]
        # Rows of a chat need not stand together in a batch.
        stored.sort(key=_chat_id)
        for chat_id, group in itertools.groupby(stored, key=_chat_id):
            rows = list(group)
            first, last = rows[0][1], rows[-1][1]
            if first.seq is None or last.seq is None:
                continue
            after_seq = self._hub.following.needed_after(chat_id)
            is_next = after_seq is not None and after_seq >= first.seq - 1
            if not is_next and after_seq is not None:
                self._pending.add((SeqRange(chat_id, first.seq, last.seq),))
            if not is_next and self._rendered is None:
                continue
            batch = _rendered_batch(chat_id, rows)
            if is_next:
                batch_rows.push(self._hub, self._metrics, batch, lambda _: committed_at)
            if self._rendered is not None:
                self._rendered.add(batch)


def _rendered_batch(chat_id: int, rows: Sequence[tuple[NewMessage, AppendResult]]) -> ChatRows:
    member_ids = rows[0][1].member_ids or ()
    # In a chat with one member, no other member has yet to read it.
    status: Status = "read" if len(member_ids) == 1 else "sent"
    hint_rows = [
        HintRow(
            result.seq or 0,
            message.sender_id,
            message.client_id,
            result.created_at_us or 0,
            Raw(frame_of_stored(message, result, status)),
        )
        for message, result in rows
    ]
    return ChatRows(chat_id, member_ids, hint_rows)


def _chat_id(pair: tuple[NewMessage, AppendResult]) -> int:
    return pair[0].chat_id
