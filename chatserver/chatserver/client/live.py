"""A device's live connection: reconnects with jitter, resends the unacknowledged, gives each row once and in order."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from chatserver.client.connection import (
    CLOSE_FORBIDDEN,
    CLOSE_REPLACED,
    CLOSE_RESTART,
    CLOSE_UNAUTHENTICATED,
    close_later,
    open_socket,
)
from chatserver.client.model import RETRYABLE_CODES, Ack, ChatClientError, Item, Problem, ReceiptUpdate, SignedOut
from chatserver.client.order import RowOrder
from chatserver.client.rest import RestClient

BACKOFF_MAX_SECONDS = 20.0
"""Full jitter below it: 5,000 clients of a lost server come back at 250 a second at most."""

HEAL_DELAY_SECONDS = 0.2
"""A hole in a chat's numbers is mostly an ack or a frame under way; ask REST only for what stays away."""

RETRY_SECONDS = 2.0
"""Between calls, when the server does not say for how long."""

GONE_STATUSES = frozenset({403, 404})
"""Answers that asking again for a chat's rows will not change."""


class _Pending(msgspec.Struct):
    frame: dict[str, Any]
    acked: asyncio.Future[Ack]


class LiveClient:
    """One device's live view: `send()` returns when the message is committed, `items()` yields every row once.

    Attributes:
        server: The chatserver of the current connection, from its `welcome`.
        closes: Close codes of the connections that ended, in order; 1006 for one that broke without.
        reconnects_asked: How often a server asked this client to move.
    """

    def __init__(self, rest: RestClient) -> None:
        self.rest = rest
        self.server = ""
        self.closes: list[int] = []
        self.reconnects_asked = 0
        self.connected = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._outbox: dict[str, _Pending] = {}
        self._order = RowOrder()
        self._synced_at = -1
        self._marks: dict[int, dict[str, int]] = {}
        self._healing: dict[int, asyncio.Task[None]] = {}
        self._items: asyncio.Queue[Item | ReceiptUpdate | None] = asyncio.Queue()
        self._errors_in_a_row = 0
        self._loop_task: asyncio.Task[None] | None = None
        self._resend_tasks: set[asyncio.Task[None]] = set()
        self._failure: ChatClientError | None = None

    async def __aenter__(self) -> Self:
        self._loop_task = asyncio.create_task(self._run(), name="chat-live")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; what is not acknowledged fails with ChatClientError."""
        tasks = [task for task in (self._loop_task, *self._healing.values(), *self._resend_tasks) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(ChatClientError("the client was closed"))

    async def send(
        self, text: str, *, to: str | None = None, chat_id: int | None = None, client_id: str | None = None
    ) -> Ack:
        """Send a message and wait until it is committed, over as many connections as it takes.

        Raises:
            Problem: The server refuses it for good.
            ChatClientError: The client was closed or signed out first.
        """
        if self._failure:
            raise self._failure
        message_id = client_id or str(uuid.uuid4())
        target = {"to": to} if chat_id is None else {"chat_id": chat_id}
        frame = {"type": "send", "id": message_id, **target, "text": text}
        pending = _Pending(frame, asyncio.get_running_loop().create_future())
        self._outbox[message_id] = pending
        await self._transmit(frame)
        try:
            return await pending.acked
        finally:
            self._outbox.pop(message_id, None)

    async def mark(self, chat_id: int, *, delivered_seq: int | None = None, read_seq: int | None = None) -> None:
        """Tell how far this user has received or read a chat; said again after a reconnect until a receipt shows it."""
        for kind, seq in (("delivered", delivered_seq), ("read", read_seq)):
            if seq is not None:
                marks = self._marks.setdefault(chat_id, {})
                marks[kind] = max(seq, marks.get(kind, 0))
                await self._transmit({"type": kind, "chat_id": chat_id, "seq": seq})

    async def items(self) -> AsyncIterator[Item | ReceiptUpdate]:
        """Yield rows, each once and in its chat's order, and receipts; ends when the client is closed.

        Raises:
            SignedOut: The server no longer knows this device.
        """
        while (item := await self._items.get()) is not None:
            yield item
        if isinstance(self._failure, SignedOut):
            raise self._failure

    async def _run(self) -> None:
        while True:
            code = None
            try:
                async with open_socket(self.rest) as socket:
                    self._socket = socket
                    try:
                        await self._converse(socket)
                    finally:
                        code = socket.close_code
            except (ConnectionClosed, OSError, TimeoutError, InvalidHandshake):
                pass
            finally:
                self.connected.clear()
                self._socket = None
            if code is not None:
                self.closes.append(code)
            if code in {CLOSE_UNAUTHENTICATED, CLOSE_FORBIDDEN, CLOSE_REPLACED}:
                self._fail(SignedOut(f"the server closed with {code}"))
                return
            if code == CLOSE_RESTART:
                # The server spreads its clients before it closes: no second wait here.
                self._errors_in_a_row = 0
            ceiling = min(BACKOFF_MAX_SECONDS, 0.25 * 2**self._errors_in_a_row)
            self._errors_in_a_row += 1
            await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311 - jitter, not a secret

    async def _converse(self, socket: ClientConnection) -> None:
        async for text in socket:
            frame = msgspec.json.decode(text)
            match frame.get("type"):
                case "welcome":
                    await self._greet(frame["server"], frame.get("limits", {}).get("max_sync_chats"))
                case "ack":
                    self._acknowledge(frame)
                case "message":
                    self._take(_item(frame["message"], self.rest.user_id))
                case "event":
                    self._take(_item(frame, self.rest.user_id))
                case "receipt":
                    receipt = msgspec.convert(frame, ReceiptUpdate)
                    self._forget_mark(receipt)
                    self._items.put_nowait(receipt)
                case "synced":
                    self._synced(frame["chats"], more=frame["more"])
                case "error":
                    self._refused(frame)
                case "reconnect":
                    self.reconnects_asked += 1
                    self._spawn(close_later(socket, frame["after_ms"] / 1000))
                case _:
                    # Of a newer server.
                    pass

    async def _greet(self, server: str, most_chats: int | None) -> None:
        """Start of a connection: ask for what was missed, repeat what was not acknowledged."""
        self.server = server
        self._errors_in_a_row = 0
        self._synced_at = -1
        if most_chats is not None and len(self._order.have) > most_chats:
            # To name some only would bring all others from their beginning.
            self._spawn(self._heal_all())
        else:
            await self._sync()
        for pending in list(self._outbox.values()):
            await self._transmit(pending.frame)
        for chat_id, marks in list(self._marks.items()):
            for kind, seq in marks.items():
                await self._transmit({"type": kind, "chat_id": chat_id, "seq": seq})
        self.connected.set()

    async def _sync(self) -> None:
        await self._transmit(
            {"type": "sync", "chats": {str(chat_id): seq for chat_id, seq in self._order.have.items()}}
        )

    def _synced(self, chats: list[dict[str, Any]], *, more: bool) -> None:
        """End of a sync: what it did not bring comes by another one, or by REST."""
        if more:
            self._spawn(self._sync_on())
            return
        for chat in chats:
            self._heal_up_to(chat)

    async def _sync_on(self) -> None:
        # A chat with a hole would be brought again from before it.
        await asyncio.gather(*self._healing.values(), return_exceptions=True)
        reached = sum(self._order.have.values())
        if reached > self._synced_at:
            self._synced_at = reached
            await self._sync()
        else:
            await self._heal_all()

    async def _heal_all(self) -> None:
        """Fetch what is missing of every chat by REST: another sync would bring the same rows again."""
        cursor: str | None = None
        while self._failure is None:
            try:
                page = await self.rest.chats(cursor)
            except Problem as problem:
                await asyncio.sleep(problem.retry_after_seconds or RETRY_SECONDS)
                continue
            for chat in page["chats"]:
                self._heal_up_to(chat)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _heal_up_to(self, chat: dict[str, Any]) -> None:
        if self._order.have.get(chat["chat_id"], 0) < chat["last_seq"]:
            self._heal(chat["chat_id"])

    def _forget_mark(self, receipt: ReceiptUpdate) -> None:
        """Drop a mark that the server shows to have taken."""
        marks = self._marks.get(receipt.chat_id)
        if receipt.user_id != self.rest.user_id or marks is None:
            return
        if marks.get("delivered", 0) <= receipt.delivered_seq and marks.get("read", 0) <= receipt.read_seq:
            del self._marks[receipt.chat_id]

    async def _transmit(self, frame: dict[str, Any]) -> None:
        """Send a frame if there is a connection; the next `welcome` repeats what matters."""
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(msgspec.json.encode(frame).decode())

    def _acknowledge(self, frame: dict[str, Any]) -> None:
        ack = msgspec.convert(frame, Ack)
        pending = self._outbox.get(ack.id)
        if pending is None or pending.acked.done():
            return
        pending.acked.set_result(ack)
        self._learn_chat(pending.frame.get("to"), ack.chat_id)
        row = {**pending.frame, **frame, "type": "text", "from_id": self.rest.user_id, "client_id": ack.id}
        self._take(Item(ack.chat_id, ack.seq, "message", own=True, row=row))

    def _refused(self, frame: dict[str, Any]) -> None:
        if "id" not in frame:
            if frame["code"] in RETRYABLE_CODES:
                # The sync, most likely: without it, what was missed would stay away until its chat goes on.
                self._spawn(self._sync_later(frame.get("retry_after_seconds") or RETRY_SECONDS))
            return
        pending = self._outbox.get(frame["id"])
        if pending is None or pending.acked.done():
            return
        problem = Problem(0, frame["code"], frame.get("detail", ""), frame.get("retry_after_seconds"))
        if problem.retryable:
            self._spawn(self._transmit_later(pending, problem.retry_after_seconds or 1.0))
        else:
            pending.acked.set_exception(problem)

    async def _sync_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        await self._sync()

    async def _transmit_later(self, pending: _Pending, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        if not pending.acked.done():
            await self._transmit(pending.frame)

    def _learn_chat(self, to: str | None, chat_id: int) -> None:
        """Repeat what waits for the same person with the chat's id: a name can pass to somebody else meanwhile."""
        for pending in self._outbox.values():
            if to is not None and pending.frame.get("to") == to:
                del pending.frame["to"]
                pending.frame["chat_id"] = chat_id

    def _take(self, item: Item) -> None:
        """Hand a row on if it is the chat's next; drop it if seen; hold it and fill the hole if later."""
        pending = self._outbox.get(item.row.get("client_id") or "") if item.own else None
        if pending is not None:
            self._learn_chat(pending.frame.get("to"), item.chat_id)
        self._deliver(self._order.take(item))
        if self._order.is_waiting(item.chat_id):
            self._heal(item.chat_id)

    def _deliver(self, items: list[Item]) -> None:
        for item in items:
            self._items.put_nowait(item)

    def _heal(self, chat_id: int) -> None:
        if chat_id not in self._healing:
            self._healing[chat_id] = asyncio.create_task(self._fill(chat_id))

    async def _fill(self, chat_id: int) -> None:
        try:
            await asyncio.sleep(HEAL_DELAY_SECONDS)
            while await self._fill_some(chat_id):
                pass
        finally:
            # In one step with the last look: a hole that opens now is healed anew.
            del self._healing[chat_id]

    async def _fill_some(self, chat_id: int) -> bool:
        """Fetch rows that are missing, and return whether some still are.

        REST is the authority on which rows this user may see, holes included.
        """
        rows: list[dict[str, Any]] = []
        more = False
        # What comes while REST is asked may be newer than its answer, and the hole before it still be filled.
        asked_about = self._order.newest_held(chat_id)
        try:
            rows, more = await self.rest.history_page(chat_id, after_seq=self._order.have.get(chat_id, 0))
        except Problem as problem:
            if problem.status not in GONE_STATUSES:
                await asyncio.sleep(problem.retry_after_seconds or RETRY_SECONDS)
                return self._failure is None
            # Not this user's chat any more: what the socket brought is all there will be.
        self._deliver(self._order.fill(chat_id, [_item(row, self.rest.user_id) for row in rows]))
        if not rows:
            self._deliver(self._order.skip_hole(chat_id, asked_about))
        return more or self._order.is_waiting(chat_id)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._resend_tasks.add(task)
        task.add_done_callback(self._resend_tasks.discard)

    def _fail(self, failure: ChatClientError) -> None:
        if self._failure is None:
            self._failure = failure
            self._items.put_nowait(None)
        for pending in self._outbox.values():
            if not pending.acked.done():
                pending.acked.set_exception(self._failure)


def _item(row: dict[str, Any], user_id: int) -> Item:
    sender = row.get("from_id", row.get("by"))
    return Item(row["chat_id"], row["seq"], row.get("kind", "message"), own=sender == user_id, row=row)
