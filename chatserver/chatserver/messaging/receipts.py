"""Receipts: up to which row each member received and read a chat, as watermarks; stored in batches over all users.

Watermarks only rise, so that the marks of many calls can be merged and stored in any order. A batch has the calls that
arrived while the last one was stored, or within COLLECT_SECONDS of the first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence  # noqa: TC003 - mypyc evaluates the annotations of a dataclass
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from chatserver import checks
from chatserver.batches import fail
from chatserver.errors import ServiceUnavailable, ValidationFailed
from chatserver.model import MemberWatermarks  # noqa: TC001 - mypyc evaluates the annotations of a dataclass
from chatserver.storage.receipts import WatermarkRaise, raise_watermarks
from chatserver.supervision import caught, is_cancelled, isolated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatserver.model import ReceiptMark
    from chatserver.storage.database import Database

COLLECT_SECONDS = 0.002
"""Seconds a batch is collected after its first call: as of messages."""

BATCH_MARKS = 1000
"""Marks of a batch at which no further call is added: 13 NOTIFY payloads, and some 20 ms of PostgreSQL."""

BATCHES_IN_FLIGHT = 2
"""So that one that waits for somebody's lock does not hold all; each takes one connection of the pool."""

QUEUE_MARKS = 20_000
"""Marks that may wait; beyond it a call is answered with 503."""

STORE_SECONDS = 10.0
"""Seconds a call waits at most: the queue in front of it, and its own batch."""


@dataclass(slots=True)
class _Call:
    raises: Sequence[WatermarkRaise]
    done: asyncio.Future[list[MemberWatermarks]]


class Receipts:
    """The receipts of one server, collected over all users while they wait for the database.

    Args:
        database: where they are stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls: deque[_Call] = deque()
        self._marks = 0
        self._collecting = False
        self._batches: set[asyncio.Task[None]] = set()

    async def mark(self, user_id: int, marks: Mapping[int, ReceiptMark]) -> list[MemberWatermarks]:
        """Raise the user's watermarks in many chats, in one statement with those of others, and hint what changed.

        Values beyond the chat's last row are lowered to it; a smaller one than before changes nothing; reading implies
        having received. In a chat that the user has left they rise to the row of the leaving, and only the user's own
        devices get the receipt. Chats the user was never in are ignored.
        When nothing changes, nothing is written and no hint is sent.

        Returns:
            The user's watermarks in these chats that changed (and only those).

        Raises:
            ValidationFailed: a negative number.
            ServiceUnavailable: too many wait, or the database is unavailable; the same call again does no harm.
        """
        raises = []
        for chat_id, item in marks.items():
            for field_name, seq in (("delivered_seq", item.delivered_seq), ("read_seq", item.read_seq)):
                if seq is not None and not 0 <= seq < 2**63:
                    raise ValidationFailed.of(
                        f"chats.{chat_id}.{field_name}", "must be a seq: a whole number from 0 to 2^63-1"
                    )
            if checks.is_id(chat_id):
                raises.append(WatermarkRaise(user_id, chat_id, item.delivered_seq or 0, item.read_seq or 0))
        if not raises:
            return []
        changed = await self._store(raises)
        return [receipt for receipt in changed if receipt.user_id == user_id and receipt.chat_id in marks]

    async def _store(self, raises: Sequence[WatermarkRaise]) -> list[MemberWatermarks]:
        """Wait until the marks are stored; returns what the batch changed."""
        if self._marks and self._marks + len(raises) > QUEUE_MARKS:
            raise ServiceUnavailable("Too many receipts wait to be stored.")
        call = _Call(raises, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._marks += len(raises)
        if not self._collecting and len(self._batches) < BATCHES_IN_FLIGHT:
            self._collecting = True
            self._batches.add(asyncio.create_task(self._run(), name="receipts"))
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await call.done
        except TimeoutError as error:
            raise ServiceUnavailable("The receipts could not be stored in time.") from error

    async def _run(self) -> None:
        try:
            await self._store_all()
        finally:
            # Here and not when the task is done: who has just got an answer may mark again before that.
            self._batches.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _store_all(self) -> None:
        try:
            # Should it fail, they are stored at once.
            with isolated("receipts_not_collected"):
                await asyncio.sleep(COLLECT_SECONDS)
        finally:
            self._collecting = False
        while self._calls:
            await self._store_batch(self._take())

    def _take(self) -> list[_Call]:
        batch: list[_Call] = []
        size = 0
        while self._calls and size < BATCH_MARKS:
            call = self._calls.popleft()
            self._marks -= len(call.raises)
            # A caller that gave up waiting already has an answer that says so.
            if not call.done.done():
                batch.append(call)
                size += len(call.raises)
        return batch

    async def _store_batch(self, batch: Sequence[_Call]) -> None:
        if not batch:
            return
        try:
            changed = await raise_watermarks(self._database, [item for call in batch for item in call.raises])
        except asyncio.CancelledError as error:
            fail((call.done for call in batch), ServiceUnavailable())
            if is_cancelled():
                raise
            caught("receipts_not_stored", error, calls=len(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            if not isinstance(error, ServiceUnavailable):
                caught("receipts_not_stored", error, calls=len(batch))
            fail((call.done for call in batch), error)
        else:
            for call in batch:
                if not call.done.done():
                    call.done.set_result(changed)
