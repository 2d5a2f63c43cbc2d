"""A device's live connection: reconnects with jitter, resends the unacknowledged, gives each row once and in order."""

import asyncio
import contextlib
import random
import ssl
import uuid
from collections.abc import AsyncIterator
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from chatserver.client.model import Ack, ChatClientError, Item, Problem, ReceiptUpdate, SignedOut
from chatserver.client.rest import RestClient

BACKOFF_MAX_SECONDS = 20.0
"""Full jitter below it: 5,000 clients of a lost server come back at 250 a second at most."""

HEAL_DELAY_SECONDS = 0.2
"""A hole in a chat's numbers is mostly an ack or a frame under way; ask REST only for what stays away."""

PING_SECONDS = 10.0
"""A half-open connection is noticed after two of these."""

MAX_FRAME_BYTES = 1 << 20

CLOSE_RESTART = 1012
CLOSE_UNAUTHENTICATED = 4001
CLOSE_FORBIDDEN = 4003
CLOSE_REPLACED = 4009


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
        self._have: dict[int, int] = {}
        self._held: dict[int, dict[int, Item]] = {}
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
        """Tell how far this user has received or read a chat; lost with the connection, so say it again after one."""
        for kind, seq in (("delivered", delivered_seq), ("read", read_seq)):
            if seq is not None:
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
                async with self._connect() as socket:
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

    def _connect(self) -> connect:
        url = f"ws{self.rest.base_url.removeprefix('http')}/api/ws"
        tls: ssl.SSLContext | None = None
        if url.startswith("wss"):
            tls = self.rest.tls if isinstance(self.rest.tls, ssl.SSLContext) else ssl.create_default_context()
        return connect(
            url,
            ssl=tls,
            additional_headers={"Authorization": f"Bearer {self.rest.token}"},
            subprotocols=[Subprotocol("chat.v1")],
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            open_timeout=PING_SECONDS,
            max_size=MAX_FRAME_BYTES,
            proxy=None,
        )

    async def _converse(self, socket: ClientConnection) -> None:
        async for text in socket:
            frame = msgspec.json.decode(text)
            match frame["type"]:
                case "welcome":
                    await self._greet(frame["server"])
                case "ack":
                    self._acknowledge(frame)
                case "message":
                    self._take(_item(frame["message"], self.rest.user_id))
                case "event":
                    self._take(_item(frame, self.rest.user_id))
                case "receipt":
                    self._items.put_nowait(msgspec.convert(frame, ReceiptUpdate))
                case "synced":
                    self._compare(frame["chats"])
                case "error":
                    self._refused(frame)
                case "reconnect":
                    self.reconnects_asked += 1
                    self._spawn(_close_later(socket, frame["after_ms"] / 1000))

    async def _greet(self, server: str) -> None:
        """Start of a connection: ask for what was missed, repeat what was not acknowledged."""
        self.server = server
        self._errors_in_a_row = 0
        await self._transmit({"type": "sync", "chats": {str(chat_id): seq for chat_id, seq in self._have.items()}})
        for pending in list(self._outbox.values()):
            await self._transmit(pending.frame)
        self.connected.set()

    def _compare(self, chats: list[dict[str, Any]]) -> None:
        """End of a sync: what it did not bring comes by REST."""
        for chat in chats:
            if self._have.get(chat["chat_id"], 0) < chat["last_seq"]:
                self._heal(chat["chat_id"])

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
        row = {**pending.frame, **frame, "type": "text", "from_id": self.rest.user_id, "client_id": ack.id}
        self._take(Item(ack.chat_id, ack.seq, "message", own=True, row=row))

    def _refused(self, frame: dict[str, Any]) -> None:
        pending = self._outbox.get(frame.get("id", ""))
        if pending is None or pending.acked.done():
            return
        problem = Problem(0, frame["code"], frame.get("detail", ""), frame.get("retry_after_seconds"))
        if problem.retryable:
            self._spawn(self._transmit_later(pending, problem.retry_after_seconds or 1.0))
        else:
            pending.acked.set_exception(problem)

    async def _transmit_later(self, pending: _Pending, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        if not pending.acked.done():
            await self._transmit(pending.frame)

    def _take(self, item: Item) -> None:
        """Hand a row on if it is the chat's next; drop it if seen; hold it and fill the hole if later."""
        have = self._have.get(item.chat_id, 0)
        if item.seq <= have:
            return
        if item.seq > have + 1:
            self._held.setdefault(item.chat_id, {})[item.seq] = item
            self._heal(item.chat_id)
            return
        self._deliver(item)
        held = self._held.get(item.chat_id, {})
        while (following := held.pop(self._have[item.chat_id] + 1, None)) is not None:
            self._deliver(following)

    def _deliver(self, item: Item) -> None:
        self._have[item.chat_id] = item.seq
        self._items.put_nowait(item)

    def _heal(self, chat_id: int) -> None:
        if chat_id not in self._healing:
            task = asyncio.create_task(self._fill(chat_id))
            self._healing[chat_id] = task
            task.add_done_callback(lambda _: self._healing.pop(chat_id, None))

    async def _fill(self, chat_id: int, limit: int = 200) -> None:
        """Fetch what is missing; REST is the authority on which rows this user may see, holes included."""
        await asyncio.sleep(HEAL_DELAY_SECONDS)
        while True:
            try:
                rows = await self.rest.history(chat_id, after_seq=self._have.get(chat_id, 0), limit=limit)
            except Problem as problem:
                if not problem.retryable:
                    return
                await asyncio.sleep(problem.retry_after_seconds or 1.0)
                continue
            for row in rows:
                if row["seq"] > self._have.get(chat_id, 0):
                    self._deliver(_item(row, self.rest.user_id))
            if len(rows) < limit:
                break
        held = self._held.pop(chat_id, {})
        for seq in sorted(held):
            self._take(held[seq])

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


async def _close_later(socket: ClientConnection, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await socket.close()
