"""One WebSocket's conversation: carries out what its frames lead to, and writes its outbox."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

import structlog

from chatserver import protocol, supervision
from chatserver.closing import TOO_SLOW, reason_of
from chatserver.errors import ChatError, InternalError
from chatserver.messaging.send_times import Arrival
from chatserver.protocol import Ack, Error, Synced, Welcome, encode_frame
from chatserver.socket.newest import Newest
from chatserver.socket.session import (
    Action,
    Close,
    RaiseWatermarks,
    RelayTyping,
    Reply,
    RunSync,
    SocketSession,
    State,
    SubmitMessage,
    WatchPresence,
)
from chatserver.socket.watermarks import RaisedWatermarks
from chatserver.times import rfc3339

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from chatserver.closing import End
    from chatserver.fanout.connection import ClientConnection
    from chatserver.http.context import Context
    from chatserver.model import SentMessage
    from chatserver.transport.websocket import Socket

log = structlog.get_logger()

# Rows of one sync over the socket; clients fetch more by REST.
SYNC_ROWS = 5000
# Reads of the database of one sync, of 2 MiB each at most.
SYNC_ANSWERS = 8


class Conversation:
    """One connection from welcome to close; the owner of its socket.

    Args:
        epoch: of the database, for the welcome.
        address: of the client.

    No frame waits for the database here: work that does is a separate task.
    """

    __slots__ = (
        "_address",
        "_connection",
        "_context",
        "_epoch",
        "_session",
        "_socket",
        "_subscriptions",
        "_syncs",
        "_watermarks",
    )

    def __init__(self, context: Context, connection: ClientConnection, epoch: str, address: str) -> None:
        self._address = address
        self._context = context
        self._connection = connection
        self._epoch = epoch
        self._socket: Socket | None = None
        self._session = SocketSession()
        self._syncs: Newest[dict[int, int]] | None = None
        self._subscriptions: Newest[frozenset[int]] | None = None
        self._watermarks: RaisedWatermarks | None = None

    @property
    def user_id(self) -> int:
        """The user of the connection."""
        return self._connection.user_id

    def opened(self, socket: Socket) -> None:
        """Welcome the client."""
        context, connection = self._context, self._connection
        self._socket = socket
        context.hub.add(connection)
        context.deliverer.presence.came(connection.user_id)
        connection.outbox.put(encode_frame(self._welcome()))
        # In the next turn of the event loop, so that all frames of one commit or one query are written at once.
        connection.outbox.attach(functools.partial(context.coalescer.add, self.flush))
        log.info("connected", conn_id=connection.conn_id, user_id=connection.user_id, device_id=connection.device_id)

    def receive(self, data: str | bytes) -> None:
        """Carry out a frame of the client; ignored when the connection is to be closed."""
        if self._connection.outbox.order is not None:
            return
        now = time.monotonic()
        for action in self._session.receive(data, now):
            self._act(action, now)

    def counts(self) -> bool:
        """Count a frame without a message; returns False when there are too many."""
        now = time.monotonic()
        for action in self._session.count(now):
            self._act(action, now)
        return self._session.state is State.OPEN

    def flush(self) -> None:
        """Write what waits, as far as the client reads it, and close when that is ordered."""
        socket, outbox = self._socket, self._connection.outbox
        if socket is None:
            self._leave()
            return
        while outbox.waiting_bytes and not socket.paused:
            frames = outbox.take()
            if not socket.write(frames):
                self._context.push_times.left(frames)
            elif outbox.taken_late is not None:
                self._context.push_times.written_late(outbox.taken_late)
        if socket.paused or outbox.dropped:
            self._leave()
        if outbox.order is not None and not len(outbox):
            socket.close(outbox.order.code, outbox.order.reason)

    def _leave(self) -> None:
        """Take back what was counted as written in this turn and was not."""
        outbox, times = self._connection.outbox, self._context.push_times
        dropped, outbox.dropped = outbox.dropped, []
        times.left(dropped)
        if outbox.late is None and len(outbox):
            outbox.late = times.left(outbox.waiting())

    def stuck(self) -> None:
        """Close the connection of a client that does not read."""
        self._connection.outbox.close(protocol.CLOSE_PACE, TOO_SLOW, flush=False)
        self.flush()

    def ended(self, end: End, code: int) -> None:
        """Forget the connection; ``code`` is what this server closed it with, or 0."""
        context, connection = self._context, self._connection
        self._socket = None
        self._session.close()
        context.hub.remove(connection, time.monotonic())
        context.deliverer.presence.went(connection.user_id)
        order = connection.outbox.order
        too_slow = order is not None and order.reason == TOO_SLOW
        reason = reason_of(end, code, too_slow=too_slow, moving=connection.moving)
        connection.outbox.close(1000, "", flush=False)
        context.metrics.connections.closed.labels(str(code), reason).inc()
        log.info("disconnected", conn_id=connection.conn_id, user_id=connection.user_id, code=code, reason=reason)

    def _welcome(self) -> Welcome:
        limits = {
            "max_frame_bytes": protocol.MAX_FRAME_BYTES,
            "max_in_flight": protocol.MAX_IN_FLIGHT,
            "max_sync_chats": protocol.MAX_SYNC_CHATS,
            "max_subscribed_users": protocol.MAX_SUBSCRIBED_USERS,
        }
        return Welcome(
            user_id=self._connection.user_id,
            conn_id=self._connection.conn_id,
            server=self._context.settings.server_name,
            server_time=rfc3339(int(time.time() * 1_000_000)),
            epoch=self._epoch,
            limits=limits,
        )

    def _act(self, action: Action, now: float) -> None:
        connection, context = self._connection, self._context
        context.metrics.connections.count_frame(type(action).__name__)
        match action:
            case Reply(frame=frame):
                connection.outbox.put(encode_frame(frame))
            case SubmitMessage(frame=frame):
                self._send(frame, now)
            case RunSync(have_seq=have_seq):
                # Now, and not when its task begins: the sync would repeat rows that are pushed in between.
                context.hub.begin_sync(connection)
                self._syncs = self._syncs or Newest(self._start, self._sync)
                if self._syncs.put(have_seq):
                    # The one that waited is not carried out: this one includes it.
                    self._session.finished()
            case RaiseWatermarks(chat_id=chat_id, delivered_seq=delivered_seq, read_seq=read_seq):
                self._watermarks = self._watermarks or RaisedWatermarks(connection, context.receipts, self._start)
                self._watermarks.raise_to(chat_id, delivered_seq, read_seq)
            case RelayTyping(chat_id=chat_id):
                context.deliverer.signals.relay_typing(chat_id, connection.user_id)
            case WatchPresence(user_ids=user_ids):
                context.hub.watching.watch(connection, user_ids)
                self._subscriptions = self._subscriptions or Newest(self._start, self._subscribe)
                self._subscriptions.put(user_ids)
            case Close(code=code, reason=reason):
                connection.outbox.close(code, reason)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return supervision.start("conversation_failed", work, self._context.tasks)

    async def _subscribe(self, user_ids: frozenset[int]) -> None:
        await self._context.deliverer.watches.subscribe(self._connection, user_ids)

    def _send(self, frame: protocol.Send, now: float) -> None:
        client_id = frame.client_id.lower()
        arrival = Arrival(now, "client_id", client_id)
        self._connection.own_ids.add(client_id)
        if frame.chat_id is None:
            self._start(self._send_to(frame, client_id, arrival))
        else:
            # The most frequent case needs no task: its result comes with its batch.
            answer = functools.partial(self._answer_send, frame.client_id, client_id)
            self._context.messages.submit(self._connection.user_id, frame, arrival, answer)

    async def _send_to(self, frame: protocol.Send, client_id: str, arrival: Arrival) -> None:
        result: SentMessage | ChatError
        try:
            result = await self._context.messages.send(self._connection.user_id, frame, arrival, self._address)
        except ChatError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must get an answer
            supervision.caught("send_failed", error, conn_id=self._connection.conn_id)
            result = InternalError()
        self._answer_send(frame.client_id, client_id, result)

    def _answer_send(self, frame_id: str, client_id: str, result: SentMessage | ChatError) -> None:
        connection = self._connection
        self._session.finished()
        if isinstance(result, ChatError) or result.duplicate:
            connection.own_ids.discard(client_id)
        if isinstance(result, ChatError):
            answer: Ack | Error = Error(result.code, result.detail, frame_id, result.retry_after_seconds)
        else:
            created_at = rfc3339(result.created_at_us)
            answer = Ack(frame_id, result.message_id, result.chat_id, result.seq, created_at, result.duplicate)
        connection.outbox.put(encode_frame(answer))

    async def _sync(self, have_seq: dict[int, int]) -> None:
        connection, context = self._connection, self._context
        async with context.syncs.place_of(connection.user_id):
            if connection.outbox.order is not None:
                self._session.finished()
                return
            reached: dict[int, int] = {}
            context.hub.begin_sync(connection)
            try:
                synced = await self._bring_rows(have_seq, reached)
            except ChatError as error:
                frame = encode_frame(Error(error.code, error.detail, None, error.retry_after_seconds))
            except Exception as error:  # noqa: BLE001 - whatever it is, the client must get an answer
                supervision.caught("sync_failed", error, conn_id=connection.conn_id)
                frame = encode_frame(Error("internal_error", ChatError.default_detail))
            else:
                frame = encode_frame(synced)
            finally:
                context.hub.end_sync(connection, reached)
                self._session.finished()
            # The largest of all frames: after the rows, it needs half the outbox.
            await connection.outbox.room()
            connection.outbox.put(frame)

    async def _bring_rows(self, have_seq: dict[int, int], reached: dict[int, int]) -> Synced:
        """Queue the missed rows as fast as the client reads; ``reached`` gets the seq to which each chat was sent."""
        connection = self._connection
        brought = answers = 0
        while True:
            answers += 1
            answer = await self._context.syncs.answer(connection.user_id, {**have_seq, **reached})
            for chat_id, seq, frame in answer.rows:
                await connection.outbox.room()
                connection.outbox.put(frame)
                reached[chat_id] = seq
            brought += len(answer.rows)
            is_over = not answer.more or not answer.rows or connection.outbox.order is not None
            if is_over or brought >= SYNC_ROWS or answers >= SYNC_ANSWERS:
                return Synced(answer.chats, answer.more)
