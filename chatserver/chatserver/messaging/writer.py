"""The group-committing writer: collects the sends of this server and commits them in few transactions.

A message that arrives after a pause is written at once; those that arrive meanwhile are collected until that commit is
done, and until some milliseconds after its batch was started (``messaging/pacing.py``), so that batches grow with the
load. When many wait, or one waits for long, further batches run beside it. No two of them have rows of one chat: they
would wait for each other's locks. Waiting messages are kept by chat, so that finding those that may be written next
needs no search.
"""

from __future__ import annotations

import asyncio
import copy
import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import (
    ChatError,
    InternalError,
    ServiceUnavailable,
)
from chatserver.messaging.pacing import EAGER_ROWS, pace_of, seconds_to_wait
from chatserver.messaging.pending import Pending, answer, answer_late, outcome_of
from chatserver.storage.calls import CallTimes
from chatserver.storage.messages import store_messages
from chatserver.storage.outages import Contended
from chatserver.supervision import caught, isolated, keep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chatserver.messaging.committing import CommitListener
    from chatserver.messaging.write_times import WriteTimes
    from chatserver.model import SentMessage
    from chatserver.storage.database import Database
    from chatserver.storage.messages import AppendResult, NewMessage

BATCH_ROWS = 128
"""Rows of one batch at most: the rate hardly rises beyond, a failed one is redone row by row."""

SHORT_CHARS = 1024
"""Characters of a text that is not counted in QUEUE_BYTES: nearly all have fewer; 10,000 of them take 10 to 40 MiB."""

QUEUE_BYTES = 64 * 2**20
"""Memory of the texts and links that may wait, in bytes: some 1,000 of the largest messages, so that a slow database
costs a pod a part of its memory and not all of it."""

WRITE_SECONDS = 10.0
"""Seconds a send waits at most: the queue in front of it, and its own batch."""

EXPIRY_SECONDS = 0.5
"""Interval of answering sends that have waited too long: cheaper than a timer for each."""

log = structlog.get_logger(__name__)


class MessageWriter:
    """Bounded queues in front of the database.

    Args:
        database: where to write.
        listener: follows each batch, and delivers its rows to the connections of this server; None: there are none.
        times: takes the times of each batch; None: nobody needs them.
        in_flight: batches in flight at most; each takes one connection of the pool.
        queue_rows: rows waiting at most; beyond it a send is answered with 503.
        queue_bytes: memory of what waits at most, with the same answer beyond it; one message alone is always taken.
        monotonic: the clock, in seconds.

    Attributes:
        pace_seconds: between the starts of two batches, as of ``pace_of``.
    """

    def __init__(
        self,
        database: Database,
        listener: CommitListener | None = None,
        *,
        times: WriteTimes | None = None,
        in_flight: int = 4,
        queue_rows: int = 10_000,
        queue_bytes: int = QUEUE_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._listener = listener
        self._times = times
        self._monotonic = monotonic
        self._queue_rows = queue_rows
        self._queue_bytes = queue_bytes
        self._in_flight = in_flight
        # By chat: what can be written now, the chat that has waited longest first; and what arrived for chats that are
        # being written, which are the keys.
        self._ready: dict[int, deque[Pending]] = {}
        self._busy: dict[int, deque[Pending]] = {}
        self._ready_rows = 0
        # Of the last batch; before the first one nothing is waited for.
        self._started_at = -math.inf
        self.pace_seconds = pace_of(1)
        self._running: dict[asyncio.Task[None], list[Pending]] = {}
        self._look: asyncio.Handle | None = None
        self._expiry: asyncio.Task[None] | None = None
        self._queued = 0
        self._queued_bytes = 0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begin to take messages; call it in the running event loop."""
        self._expiry = asyncio.create_task(keep("expiry", self._expire), name="writer-expiry")

    @property
    def queued_rows(self) -> int:
        """Rows that wait or are being written."""
        return self._queued

    async def write(self, message: NewMessage) -> SentMessage:
        """Queue a message and wait until it is durable.

        Raises:
            ChatError: as of ``submit`` and its results.
        """
        done: asyncio.Future[SentMessage | ChatError] = asyncio.get_running_loop().create_future()
        pending = self.submit(message, done.set_result)
        try:
            result = await done
        except asyncio.CancelledError:
            # The caller no longer waits: the row need not be written.
            pending.answered = True
            raise
        if isinstance(result, ChatError):
            raise result
        return result

    def submit(self, message: NewMessage, on_result: Callable[[SentMessage | ChatError], None]) -> Pending:
        """Queue a message.

        Args:
            message: what to store.
            on_result: called once, from the event loop: the message is durable; or the reason why it may not be. After
                ServiceUnavailable it may or may not be stored (a retry with the same client_id finds out); after
                ChatNotFound, NotAMember, NotAnAdmin, Blocked, IdempotencyConflict or ValidationFailed it is not.

        Raises:
            ServiceUnavailable: the queue is full or the server is closing; ``on_result`` will not be called.
        """
        pending = Pending(message, on_result, self._monotonic())
        if self._closing or self._expiry is None:
            raise ServiceUnavailable("This server is draining; connect again.")
        if self._queued >= self._queue_rows:
            raise ServiceUnavailable("Too many messages wait to be stored.")
        text, media_url = message.text, message.media_url
        if media_url is not None or (text is not None and len(text) > SHORT_CHARS):
            pending.size_bytes = sys.getsizeof(text) + sys.getsizeof(media_url)
            if self._queued and self._queued_bytes + pending.size_bytes > self._queue_bytes:
                raise ServiceUnavailable("Too many messages wait to be stored.")
            self._queued_bytes += pending.size_bytes
        self._queued += 1
        self._idle.clear()
        chat_id = message.chat_id
        busy = self._busy.get(chat_id)
        if busy is not None:
            # The end of that batch looks again.
            busy.append(pending)
            return pending
        self._ready.setdefault(chat_id, deque()).append(pending)
        self._ready_rows += 1
        if self._look is None or self._ready_rows == EAGER_ROWS:
            # In the next turn of the event loop: includes what other clients have sent by then.
            self._look_in(0.0)
        return pending

    async def close(self, timeout_seconds: float = 10.0) -> None:
        """Take no more rows, finish the queued ones, and answer with 503 those that remain after the timeout."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("writer_closed_with_rows_left", rows=self._queued)
        finally:
            await self._end()

    async def _end(self) -> None:
        tasks = [*self._running, *([] if self._expiry is None else [self._expiry])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._look is not None:
            self._look.cancel()
        self._finish([(pending, ServiceUnavailable()) for rows in self._queues() for pending in rows])
        self._ready.clear()
        self._busy.clear()

    def _queues(self) -> Iterable[deque[Pending]]:
        return (*self._ready.values(), *self._busy.values())

    def _look_in(self, seconds: float) -> None:
        if self._look is not None:
            self._look.cancel()
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(seconds, self._start_batches) if seconds else loop.call_soon(self._start_batches)

    def _start_batches(self) -> None:
        """Write what waits as far as it is due, and look again when more is due."""
        self._look = None
        while self._ready and len(self._running) < self._in_flight:
            now = self._monotonic()
            wait_seconds = seconds_to_wait(
                now,
                rows=self._ready_rows,
                oldest_at=next(iter(self._ready.values()))[0].queued_at,
                started_at=self._started_at,
                running=bool(self._running),
                pace_seconds=self.pace_seconds,
            )
            if wait_seconds > 0:
                self._look_in(wait_seconds)
                return
            batch = self._take()
            if batch:
                self._started_at = now
                task = asyncio.create_task(self._run(batch), name="write-batch")
                self._running[task] = batch

    def _take(self) -> list[Pending]:
        """Return the rows of the first chats, as many as fit into a batch; these chats are busy from now on."""
        batch: list[Pending] = []
        while self._ready and len(batch) < BATCH_ROWS:
            chat_id = next(iter(self._ready))
            rows = self._ready.pop(chat_id)
            self._ready_rows -= len(rows)
            taken = self._take_of_chat(rows, BATCH_ROWS - len(batch))
            if taken:
                batch += taken
                self._busy[chat_id] = rows
        return batch

    def _take_of_chat(self, rows: deque[Pending], most: int) -> list[Pending]:
        """Take the first rows of a chat; a repeated client_id waits for the next batch, when the first is stored."""
        taken: list[Pending] = []
        keys: set[tuple[int, str]] = set()
        while rows and len(taken) < most:
            message = rows[0].message
            key = (message.sender_id, message.client_id)
            if rows[0].answered:
                # The sender has an answer already, that the outcome is unknown: the row need not be written.
                self._finish([(rows.popleft(), ServiceUnavailable())])
            elif key in keys:
                break
            else:
                keys.add(key)
                taken.append(rows.popleft())
        return taken

    async def _run(self, batch: list[Pending]) -> None:
        try:
            with isolated("batch_failed", rows=len(batch)):
                await self._write_batch(batch)
        finally:
            # After a cancellation; those that have their answer are no longer counted.
            self._finish([(pending, ServiceUnavailable()) for pending in batch if not pending.answered])
            for chat_id in {pending.message.chat_id for pending in batch}:
                rows = self._busy.pop(chat_id, None)
                if rows:
                    self._ready[chat_id] = rows
                    self._ready_rows += len(rows)
            task = asyncio.current_task()
            if task is not None:
                self._running.pop(task, None)
            if self._ready:
                self._look_in(0.0)

    async def _expire(self) -> None:
        """Answer sends that have waited too long; their rows still count as queued until a batch takes them."""
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            now = self._monotonic()
            answer_late(self._running.values(), now - WRITE_SECONDS)
            late = answer_late(self._queues(), now - WRITE_SECONDS)
            if late and self._times is not None:
                # Those of batches under way are timed with their batch.
                self._times.given_up(late, now)

    async def _write_batch(self, batch: Sequence[Pending]) -> None:
        if not batch:
            return
        try:
            results = await self._store_timed(batch)
        except Contended as error:
            await self._divide(batch, error)
        except ServiceUnavailable as error:
            self._finish([(pending, copy.copy(error)) for pending in batch])
        except Exception as error:  # noqa: BLE001 - whatever one row provokes, the writer must serve the others
            caught("batch_refused", error, rows=len(batch))
            await self._divide(batch, InternalError())
        else:
            self._finish(
                [(pending, outcome_of(pending.message, result)) for pending, result in zip(batch, results, strict=True)]
            )

    async def _store_timed(self, batch: Sequence[Pending]) -> Sequence[AppendResult]:
        """Store a batch and have its times taken; raises as of ``store_messages``."""
        started_at, call = self._monotonic(), CallTimes("store")
        try:
            return await self._store([pending.message for pending in batch], call)
        finally:
            if self._times is not None:
                self._times.written(batch, started_at, call)

    async def _store(self, messages: Sequence[NewMessage], call: CallTimes) -> Sequence[AppendResult]:
        """Store a batch and call the listener with its outcome; raises as of ``store_messages``."""
        if self._listener is None:
            return await store_messages(self._database, messages, call)
        self._listener.begin(messages)
        try:
            results = await store_messages(self._database, messages, call)
        except BaseException:
            self._listener.failed(messages)
            raise
        self._listener.committed(messages, results)
        return results

    async def _divide(self, batch: Sequence[Pending], error: ChatError) -> None:
        """Store a failed batch again in parts: chat by chat, then row by row; a row that fails alone gets the error."""
        chats: dict[int, list[Pending]] = {}
        for pending in batch:
            chats.setdefault(pending.message.chat_id, []).append(pending)
        if len(chats) > 1:
            parts = list(chats.values())
        elif len(batch) > 1 and not isinstance(error, Contended):
            parts = [[pending] for pending in batch]
        else:
            self._finish([(pending, copy.copy(error)) for pending in batch])
            return
        for part in parts:
            await self._write_batch(part)

    def _finish(self, results: Sequence[tuple[Pending, SentMessage | ChatError]]) -> None:
        for pending, result in results:
            self._queued -= 1
            self._queued_bytes -= pending.size_bytes
            answer(pending, result)
        if self._queued == 0:
            self._idle.set()
