"""Watermarks that one connection raises: collected while the database stores others, and stored in few calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chatserver.errors import ChatError, ServiceUnavailable
from chatserver.model import ReceiptMark
from chatserver.protocol import Error, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from chatserver.fanout.connection import ClientConnection
    from chatserver.messaging.receipts import Receipts

RETRY_SECONDS = 1.0
"""Wait before storing watermarks again while the database is unavailable."""

MAX_WAITING_CHATS = 5000
"""Chats whose watermarks may wait for the database; a client with more sends them again after a sync."""


class RaisedWatermarks:
    """The watermarks of one connection that wait to be stored.

    Args:
        connection: gets the errors.
        receipts: stores watermarks.
        start: begins a task.
    """

    __slots__ = ("_connection", "_receipts", "_start", "_storing", "_waiting")

    def __init__(
        self,
        connection: ClientConnection,
        receipts: Receipts,
        start: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        self._connection = connection
        self._receipts = receipts
        self._start = start
        self._waiting: dict[int, ReceiptMark] = {}
        self._storing = False

    def raise_to(self, chat_id: int, delivered_seq: int | None, read_seq: int | None) -> None:
        """Raise the watermarks of a chat soon; one task at a time stores those that arrived meanwhile."""
        if chat_id not in self._waiting and len(self._waiting) >= MAX_WAITING_CHATS:
            return
        known = self._waiting.get(chat_id, ReceiptMark())
        self._waiting[chat_id] = ReceiptMark(
            _highest(known.delivered_seq, delivered_seq), _highest(known.read_seq, read_seq)
        )
        if not self._storing:
            self._storing = True
            self._start(self._store())

    async def _store(self) -> None:
        try:
            while self._waiting:
                marks = dict(self._waiting)
                try:
                    await self._receipts.mark(self._connection.user_id, marks)
                except ServiceUnavailable:
                    if self._connection.outbox.order is not None:
                        return
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self._waiting = {chat_id: mark for chat_id, mark in self._waiting.items() if marks.get(chat_id) != mark}
        except ChatError as error:
            self._waiting.clear()
            self._connection.outbox.put(encode_frame(Error(error.code, error.detail)))
        except Exception:
            # Marks that cannot be stored would block all later ones.
            self._waiting.clear()
            raise
        finally:
            self._storing = False


def _highest(first: int | None, second: int | None) -> int | None:
    return max((seq for seq in (first, second) if seq is not None), default=None)
