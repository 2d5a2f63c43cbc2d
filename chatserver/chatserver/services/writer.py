"""The group-committing writer: collects the sends of this server and commits them in few transactions.

Lanes by chat: rows of one chat are always in the same lane, so that two batches of one server never wait for
each other's chat locks. Each lane commits one batch at a time: what came while the last one ran, or within
COLLECT_SECONDS of the first row.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from chatserver.errors import (
    Blocked,
    ChatError,
    ChatNotFound,
    IdempotencyConflict,
    InternalError,
    NotAMember,
    ServiceUnavailable,
    ValidationFailed,
)
from chatserver.model import SentMessage
from chatserver.storage.database import Contended
from chatserver.storage.messages import append_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chatserver.storage.database import Database
    from chatserver.storage.messages import AppendResult, NewMessage

COLLECT_SECONDS = 0.002
"""Seconds a lane collects after its first row: below what a person notices, and 8 rows a batch at 4,000/s."""

BATCH_ROWS = 128
"""Rows of one batch at most: the rate hardly rises beyond (FACTS.md), a failed one is redone row by row."""

WRITE_SECONDS = 10.0
"""Seconds a send waits at most: the queue in front of it, and its own batch."""

EXPIRY_SECONDS = 0.5
"""Between two looks for sends that have waited too long: one look at all costs less than a timer for each."""

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Pending:
    """A message on its way; answered once."""

    message: NewMessage
    on_result: Callable[[SentMessage | ChatError], None]
    expires_at: float
    answered: bool = False


@dataclass(slots=True)
class _Lane:
    waiting: deque[_Pending] = field(default_factory=deque)
    running: list[_Pending] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class MessageWriter:
    """Bounded queues in front of the database.

    Args:
        database: where to write.
        lanes: batches in flight at most; each takes one connection of the pool.
        queue_rows: rows waiting at most, over all lanes; beyond it a send is answered with 503.
        on_batch: told the rows and the seconds of each batch, for metrics.
    """

    def __init__(
        self,
        database: Database,
        *,
        lanes: int = 4,
        queue_rows: int = 10_000,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._database = database
        self._queue_rows = queue_rows
        self._on_batch = on_batch
        self._lanes = [_Lane() for _ in range(lanes)]
        self._tasks: list[asyncio.Task[None]] = []
        self._queued = 0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Start the lanes; call it in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._run(lane), name=f"writer-{number}") for number, lane in enumerate(self._lanes)
        ]
        self._tasks.append(asyncio.create_task(self._expire(), name="writer-expiry"))

    @property
    def queued_rows(self) -> int:
        """Rows that wait or are being written."""
        return self._queued

    def submit(self, message: NewMessage, on_result: Callable[[SentMessage | ChatError], None]) -> None:
        """Queue a message.

        Args:
            message: what to store.
            on_result: called once, from the event loop: the message is durable; or the reason why it may not be. After
                ServiceUnavailable it may or may not be stored (the same client_id again tells); after ChatNotFound,
                NotAMember, Blocked, IdempotencyConflict or ValidationFailed it is not.

        Raises:
            ServiceUnavailable: the queue is full or the server is closing; ``on_result`` will not be called.
        """
        self._queue(_Pending(message, on_result, time.monotonic() + WRITE_SECONDS))

    async def write(self, message: NewMessage) -> SentMessage:
        """Queue a message and wait until it is durable.

        Raises:
            ChatError: as of ``submit`` and its results.
        """
        done: asyncio.Future[SentMessage | ChatError] = asyncio.get_running_loop().create_future()
        pending = _Pending(message, done.set_result, time.monotonic() + WRITE_SECONDS)
        self._queue(pending)
        try:
            result = await done
        except asyncio.CancelledError:
            # Whoever asked has gone: the row need not be written any more.
            pending.answered = True
            raise
        if isinstance(result, ChatError):
            raise result
        return result

    def _queue(self, pending: _Pending) -> None:
        if self._closing or not self._tasks:
            raise ServiceUnavailable("This server is leaving; connect again.")
        if self._queued >= self._queue_rows:
            raise ServiceUnavailable("Too many messages wait to be stored.")
        lane = self._lanes[pending.message.chat_id % len(self._lanes)]
        lane.waiting.append(pending)
        lane.wake.set()
        self._queued += 1
        self._idle.clear()

    async def close(self, timeout_seconds: float = 10.0) -> None:
        """Take no more rows, finish the queued ones, and answer with 503 what the timeout leaves over."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("writer_closed_with_rows_left", rows=self._queued)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            self._finish([(pending, ServiceUnavailable()) for pending in lane.waiting])
            lane.waiting.clear()

    async def _run(self, lane: _Lane) -> None:
        while True:
            await lane.wake.wait()
            if len(lane.waiting) < BATCH_ROWS:
                await asyncio.sleep(COLLECT_SECONDS)
            batch = [lane.waiting.popleft() for _ in range(min(BATCH_ROWS, len(lane.waiting)))]
            if not lane.waiting:
                lane.wake.clear()
            lane.running = batch
            abandoned = [pending for pending in batch if pending.answered]
            self._finish([(pending, ServiceUnavailable()) for pending in abandoned])
            try:
                await self._write_batch([pending for pending in batch if not pending.answered])
            except asyncio.CancelledError:
                self._finish([(pending, ServiceUnavailable()) for pending in batch if not pending.answered])
                raise
            finally:
                lane.running = []

    async def _expire(self) -> None:
        """Answer who has waited too long; their rows still count as queued until their lane comes to them."""
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            now = time.monotonic()
            for lane in self._lanes:
                for pending in (*lane.running, *lane.waiting):
                    if pending.expires_at > now:
                        break
                    _answer(pending, ServiceUnavailable("The message could not be stored in time."))

    async def _write_batch(self, batch: Sequence[_Pending]) -> None:
        if not batch:
            return
        started = time.monotonic()
        try:
            results = await append_messages(self._database, [pending.message for pending in batch])
        except Contended as error:
            await self._divide(batch, error)
        except ServiceUnavailable as error:
            self._finish([(pending, copy.copy(error)) for pending in batch])
        except Exception as error:  # noqa: BLE001 - whatever one row provokes, the lane must serve the others
            # Without the traceback's text: PostgreSQL quotes values in it, and values are messages.
            log.error("batch_refused", rows=len(batch), error=type(error).__name__, reason=_reason(error))  # noqa: TRY400
            await self._divide(batch, InternalError())
        else:
            if self._on_batch is not None:
                self._on_batch(len(batch), time.monotonic() - started)
            self._finish(
                [(pending, _judge(pending.message, result)) for pending, result in zip(batch, results, strict=True)]
            )

    async def _divide(self, batch: Sequence[_Pending], error: ChatError) -> None:
        """Try a failed batch again in parts: chat by chat, then row by row; what fails alone gets the error."""
        chats: dict[int, list[_Pending]] = {}
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

    def _finish(self, results: Sequence[tuple[_Pending, SentMessage | ChatError]]) -> None:
        for pending, result in results:
            self._queued -= 1
            _answer(pending, result)
        if self._queued == 0:
            self._idle.set()


def _answer(pending: _Pending, result: SentMessage | ChatError) -> None:
    if pending.answered:
        return
    pending.answered = True
    try:
        pending.on_result(result)
    except Exception:
        # A defect in one answer must not keep the others from theirs.
        log.exception("answer_failed")


def _reason(error: Exception) -> str | None:
    """Return the SQLSTATE of a refused statement; never PostgreSQL's text, which quotes values."""
    return getattr(error, "sqlstate", None)


_REFUSALS: dict[str, type[ChatError]] = {
    "chat_not_found": ChatNotFound,
    "not_a_member": NotAMember,
    "blocked": Blocked,
    "conflict": IdempotencyConflict,
}


def _judge(message: NewMessage, result: AppendResult) -> SentMessage | ChatError:
    if result.outcome == "reply_not_found":
        return ValidationFailed.of("reply_to", "must be the seq of a message in this chat")
    if result.message_id is None or result.seq is None or result.created_at_us is None or result.outcome == "conflict":
        return _REFUSALS.get(result.outcome, InternalError)()
    return SentMessage(
        result.message_id,
        message.chat_id,
        result.seq,
        message.client_id,
        result.created_at_us,
        duplicate=result.outcome == "duplicate",
    )
