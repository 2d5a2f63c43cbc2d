"""A device's live connection: reconnects with jitter, resends messages, yields each row once in order."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Coroutine
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from chatcluster_client import frames
from chatcluster_client.backoff import Backoff, Replacements
from chatcluster_client.connection import (
    CLOSE_PROTOCOL,
    CLOSE_REPLACED,
    CLOSE_TOO_LARGE,
    CLOSE_UNAUTHENTICATED,
    FINAL_CLOSES,
    close_later,
    open_socket,
)
from chatcluster_client.healing import Healer
from chatcluster_client.marks import Marks
from chatcluster_client.model import (
    RETRYABLE_CODES,
    Ack,
    ChatClientError,
    ClientStopped,
    HistoryReplaced,
    Item,
    Problem,
    ReceiptUpdate,
    Replaced,
    SignedOut,
    named_seconds,
    wait_seconds,
)
from chatcluster_client.order import RowOrder
from chatcluster_client.outbox import Outbox, checked_id, encoded
from chatcluster_client.positions import Positions
from chatcluster_client.rest import RestClient
from chatcluster_client.sender import Sender
from chatcluster_client.syncing import Syncer

log = logging.getLogger("chatcluster_client")

CLOSES_KEPT = 1000
"""Close codes: a program that runs for a year has more connections than it should remember."""


class LiveClient:
    """One device's live view: `send()` returns when the message is committed, `items()` yields every row once.

    It connects when it is entered with `async with`, and from then on always tries to be connected, until it is
    closed or has failed for good. Once it has ended, each call raises what ended it, and so does each call that waits.

    Args:
        rest: Of the device.
        positions: What was handled already: `items()` begins behind it. None: from the beginning of every chat.

    Attributes:
        server: The chatserver of the current connection, from its `welcome`.
        closes: Close codes of the last thousand connections that ended, in order; 1006 for one that broke without.
        positions: As given; its `epoch` is kept up to date, its `have` is the application's to count.
        reconnects_asked: How often a server moved this client.
        connected: Set while there is a connection that has requested its missed rows. `wait_connected()` waits for it.
        connected_at: Since when it is set, in seconds of `time.monotonic()`; None while it is not.
    """

    def __init__(self, rest: RestClient, positions: Positions | None = None) -> None:
        self.rest = rest
        self.positions = Positions() if positions is None else positions
        self.server = ""
        self.closes: list[int] = []
        self.reconnects_asked = 0
        self.connected = asyncio.Event()
        self.connected_at: float | None = None
        self._socket: ClientConnection | None = None
        self._outbox = Outbox()
        self._sender = Sender(self._outbox, self._transmit, self._spawn)
        self._order = RowOrder(self.positions.have)
        self._healer = Healer(rest, self._order, self._deliver, self._spawn)
        self._syncer = Syncer(self._order, self._healer, self._transmit, self._spawn)
        self._marks = Marks()
        self._items: asyncio.Queue[Item | ReceiptUpdate | None] = asyncio.Queue()
        self._iterating = False
        self._backoff = Backoff()
        self._replacements = Replacements()
        self._welcomed_at: float | None = None
        self._named_seconds = 0.0
        self._loop_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._failure: ChatClientError | None = None

    async def __aenter__(self) -> Self:
        self._loop_task = self._spawn(self._run())
        self._spawn(self._sender.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; unacknowledged sends fail with ChatClientError."""
        self._fail(ChatClientError("the client was closed"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_connected(self) -> None:
        """Wait until there is a connection.

        Raises:
            ChatClientError: The client has ended.
        """
        waits = [asyncio.create_task(event.wait()) for event in (self.connected, self._ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._check_running()

    async def send(
        self, text: str, *, to: str | None = None, chat_id: int | None = None, client_id: str | None = None
    ) -> Ack:
        """Send a message and wait until it is committed, across reconnects.

        Two calls with one `client_id` and content are one message, and both get its result.

        Raises:
            Problem: The server refuses it for good, or it can never be sent: 413 `too_large` above the server's
                `max_frame_bytes`, 422 `validation_failed` for what UTF-8 cannot hold.
            ChatClientError: The client was closed, signed out or never entered.
        """
        self._check_running()
        pending, is_new = self._outbox.add(checked_id(client_id), text, to=to, chat_id=chat_id)
        if is_new:
            self._sender.add(pending)
        return await self._outbox.wait(pending)

    async def mark(self, chat_id: int, *, delivered_seq: int | None = None, read_seq: int | None = None) -> None:
        """Report how far this user has received or read a chat; repeated after a reconnect until a receipt shows it.

        Raises:
            Problem: 422 `validation_failed` for numbers that no server takes.
            ChatClientError: The client has ended.
        """
        self._check_running()
        for kind, seq in (("delivered", delivered_seq), ("read", read_seq)):
            if seq is not None:
                await self._transmit(self._marks.add(kind, chat_id, seq))

    async def items(self) -> AsyncIterator[Item | ReceiptUpdate]:
        """Yield rows, each once and in its chat's order, and receipts; ends when the client is closed.

        One loop at a time: of two, each would get a part of the rows.

        Raises:
            SignedOut: The server no longer knows this device.
            ChatClientError: Another loop iterates already, or the client failed otherwise.
        """
        while (item := await self._next_item()) is not None:
            yield item
        # For iterators that start after the end.
        self._items.put_nowait(None)
        if self._failure is not None and type(self._failure) is not ChatClientError:
            raise self._failure

    async def _next_item(self) -> Item | ReceiptUpdate | None:
        # Count only waiting iterators: one that was left by `break` is closed some time later.
        if self._iterating:
            raise ChatClientError("another loop waits for items() already; share one loop")
        self._iterating = True
        try:
            return await self._items.get()
        finally:
            self._iterating = False

    def _check_running(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._loop_task is None:
            raise ChatClientError("the client is not running: enter it with `async with`")

    async def _run(self) -> None:
        while True:
            code = await self._connect_once()
            lasted = 0.0 if self._welcomed_at is None else time.monotonic() - self._welcomed_at
            if code == CLOSE_REPLACED and not self._replacements.may_come_back(lasted):
                self._fail(
                    Replaced("another program uses this device's token: its connection has replaced this one twice")
                )
                return
            if code in FINAL_CLOSES:
                self._fail(SignedOut(f"the server closed with {code}"))
                return
            draw = random.random()  # noqa: S311 - jitter, not a secret
            wait = self._backoff.seconds(lasted, draw, named_seconds=self._named_seconds)
            log.info("connecting again in %.2f s; the last connection ended with %s", wait, code)
            await asyncio.sleep(wait)

    async def _connect_once(self) -> int | None:
        """Connect and run until the connection ends; returns the close code, None if no connection was opened."""
        self._welcomed_at = None
        self._named_seconds = 0.0
        code = None
        try:
            async with open_socket(self.rest) as socket:
                self._socket = socket
                try:
                    await self._converse(socket)
                finally:
                    code = socket.close_code
        except InvalidStatus as refusal:
            if refusal.response.status_code == HTTPStatus.UNAUTHORIZED:
                return CLOSE_UNAUTHENTICATED
            self._named_seconds = named_seconds(refusal.response.headers.get("Retry-After")) or 0.0
            log.warning("cannot connect to %s: the answer is %d", self.rest.base_url, refusal.response.status_code)
        except ConnectionClosed:
            pass
        except (OSError, TimeoutError, InvalidHandshake) as error:
            log.warning("cannot connect to %s: %s: %s", self.rest.base_url, type(error).__name__, error)
        finally:
            self.connected.clear()
            self.connected_at = None
            self._sender.end()
            self._socket = None
        if code is not None:
            self.closes = [*self.closes[1 - CLOSES_KEPT :], int(code)]
        return code

    async def _converse(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                frame = frames.decode(text, self.rest.user_id)
                if frame is not None:
                    await self._receive(frame, socket)
        except frames.BadServerFrame:
            await socket.close(CLOSE_PROTOCOL)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == CLOSE_TOO_LARGE and closed.rcvd_then_sent:
                self._outbox.fail_largest()
            raise

    async def _receive(self, frame: frames.ServerFrame, socket: ClientConnection) -> None:
        match frame:
            case frames.Welcome():
                await self._greet(frame)
            case Ack():
                self._acknowledge(frame)
            case Item():
                self._take(frame)
            case ReceiptUpdate():
                if frame.user_id == self.rest.user_id:
                    self._marks.forget(frame)
                self._items.put_nowait(frame)
            case frames.Synced():
                self._syncer.synced(frame)
            case frames.ErrorFrame():
                self._refused(frame)
            case frames.Reconnect():
                self.reconnects_asked += 1
                self._spawn(close_later(socket, frame.after_ms / 1000))

    async def _greet(self, welcome: frames.Welcome) -> None:
        """Start a connection: request missed rows, resend unacknowledged messages."""
        self.server = welcome.server
        self._welcomed_at = time.monotonic()
        if not self.rest.user_id:
            self.rest.user_id = welcome.user_id
        if welcome.epoch and welcome.epoch != (self.positions.epoch or welcome.epoch):
            raise HistoryReplaced
        self.positions.epoch = welcome.epoch
        await self._syncer.begin(welcome.limits.get("max_sync_chats"))
        self._sender.begin(welcome.limits)
        for frame in self._marks.frames():
            await self._transmit(frame)
        self.connected_at = time.monotonic()
        self.connected.set()

    async def _transmit(self, frame: dict[str, Any]) -> None:
        """Send a frame if there is a connection; after the next `welcome` important frames are sent again."""
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(encoded(frame), text=True)

    def _acknowledge(self, ack: Ack) -> None:
        frame = self._sender.acknowledge(ack)
        if frame is not None:
            self._take(frames.own_item(ack, frame, self.rest.user_id))

    def _refused(self, error: frames.ErrorFrame) -> None:
        if error.id is not None:
            self._sender.refuse(error.id, error)
        elif error.code in RETRYABLE_CODES:
            # Most likely the sync: without it, missed rows would not arrive until their chat has a new row.
            problem = Problem(0, error.code, error.detail, error.retry_after_seconds)
            self._spawn(self._syncer.sync_after(wait_seconds(problem)))
        else:
            log.warning("the server refused a frame: %s: %s", error.code, error.detail)

    def _take(self, item: Item) -> None:
        """Deliver a row if it is the chat's next; drop it if seen; hold it and fill the gap if it is later."""
        pending = self._outbox.get(item.row.get("client_id") or "") if item.own else None
        if pending is not None:
            self._outbox.learn_chat(pending.frame.get("to"), item.chat_id)
        self._deliver(self._order.take(item))
        if self._order.is_waiting(item.chat_id):
            self._healer.fill(item.chat_id)

    def _deliver(self, items: list[Item]) -> None:
        for item in items:
            self._items.put_nowait(item)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        """Handle the end of a task: without this, callers would wait for ever after a failure."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error if isinstance(error, HistoryReplaced) else ClientStopped(error))

    def _fail(self, failure: ChatClientError) -> None:
        """Stop the client: all waiting callers get the reason."""
        if self._failure is None:
            self._failure = failure
            self._items.put_nowait(None)
            self._ended.set()
            # The tasks that fill gaps too: they would retry for ever with an invalid token.
            for task in self._tasks:
                task.cancel()
        self._outbox.fail_all(self._failure)
