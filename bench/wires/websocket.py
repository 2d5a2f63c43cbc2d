"""Our WebSocket, on picows: a frame costs the generator a few microseconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from picows.common import WSError

from bench.schedule import due_us
from bench.wires import HANDSHAKE_SECONDS, source_address

if TYPE_CHECKING:
    from bench.orders import Person
    from bench.wires import Account

READ_BUFFER_BYTES = 2048
"""Size of the buffer of each connection; frames of a load are smaller, and there may be ten thousand."""

_ACK = b'{"type":"ack","id":"'
_MESSAGE = b'{"type":"message"'
_ERROR = b'{"type":"error"'
_WELCOME = b'{"type":"welcome"'
_SYNCED = b'{"type":"synced"'
_CLIENT_ID = b'"client_id":"'


class _Place(msgspec.Struct):
    chat_id: int
    seq: int


class _Message(msgspec.Struct):
    message: _Place


class _Synced(msgspec.Struct):
    more: bool


class _Error(msgspec.Struct):
    retry_after_seconds: float = 1.0


class WebSocket(WSListener):
    """One connection; a load uses only its acks and messages, a sync all frames."""

    def __init__(self, account: Account, person: Person) -> None:
        self._account = account
        self._transport: WSTransport | None = None
        self._suffix = b'","text":%s,"chat_id":%s}' % (
            msgspec.json.encode(account.order.text),
            person.target.encode() or b"0",
        )
        self._syncs = account.order.mode == "sync"
        self._have = dict(person.have)
        self._marks: dict[int, int] = {}
        self.synced: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows's name
        """Record that nothing can be sent any more."""
        self._transport = None
        if not self.synced.done():
            self.synced.set_exception(ConnectionResetError("the server has closed the connection"))
            # Only a sync waits for it.
            self.synced.exception()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count an ack, a message or an error."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type != WSMsgType.TEXT:
            return
        data = frame.get_payload_as_bytes()
        if self._syncs:
            self._sync(transport, data)
        elif data.startswith(_ACK):
            self._account.acked(self, due_us(data, len(_ACK)))
        elif data.startswith(_MESSAGE):
            self._account.delivered(due_us(data, data.index(_CLIENT_ID) + len(_CLIENT_ID)))
            if self._account.order.receipts:
                self._mark(msgspec.json.decode(data, type=_Message).message)
        elif data.startswith(_ERROR):
            self._account.refused(self)

    def _mark(self, place: _Place) -> None:
        if not self._marks:
            asyncio.get_running_loop().call_soon(self._send_receipts)
        self._marks[place.chat_id] = place.seq

    def _send_receipts(self) -> None:
        for chat_id, seq in self._marks.items():
            if self._transport is not None:
                frame = b'{"type":"delivered","chat_id":%d,"seq":%d}' % (chat_id, seq)
                self._transport.send(WSMsgType.TEXT, frame)
        self._marks.clear()

    def _sync(self, transport: WSTransport, data: bytes) -> None:
        if data.startswith(_MESSAGE):
            place = msgspec.json.decode(data, type=_Message).message
            self._have[str(place.chat_id)] = place.seq
            self._account.delivered(0)
            return
        if data.startswith(_SYNCED):
            if not msgspec.json.decode(data, type=_Synced).more:
                self.synced.set_result(None)
                return
        elif data.startswith(_ERROR):
            # The server is busy: the frame says when to retry.
            self._account.refused(self)
            wait_seconds = msgspec.json.decode(data, type=_Error).retry_after_seconds
            asyncio.get_running_loop().call_later(wait_seconds, self._request_sync, transport)
            return
        elif not data.startswith(_WELCOME):
            return
        self._request_sync(transport)

    def _request_sync(self, transport: WSTransport) -> None:
        if self._transport is not None:
            transport.send(WSMsgType.TEXT, msgspec.json.encode({"type": "sync", "chats": self._have}))

    def send(self, key: bytes, due_us: int) -> None:  # noqa: ARG002 - the ack brings the key back
        """Send a message."""
        if self._transport is None:
            raise ConnectionResetError("the server has closed a connection of the generator")
        self._transport.send(WSMsgType.TEXT, b'{"type":"send","id":"%s%s' % (key, self._suffix))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.disconnect()


async def connect(account: Account, person: Person, url: str) -> WebSocket:
    """Open a connection; in the mode ``sync`` return when it has all missed rows.

    Raises:
        ConnectionError: The server refuses, or hangs up.
    """
    host = urlsplit(url).hostname or ""
    try:
        _, listener = await ws_connect(
            lambda: WebSocket(account, person),
            f"{url}/api/ws",
            ssl_context=account.tls,
            extra_headers={"Authorization": f"Bearer {person.token}"},
            websocket_handshake_timeout=HANDSHAKE_SECONDS,
            read_buffer_init_size=READ_BUFFER_BYTES,
            local_addr=source_address(account.order.process, host),
        )
    except WSError as error:
        raise ConnectionRefusedError(str(error)) from error
    made = cast("WebSocket", listener)
    if account.order.mode == "sync":
        await made.synced
    return made
