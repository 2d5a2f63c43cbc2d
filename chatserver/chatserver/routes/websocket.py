"""WebSockets: picows on the connections that Sanic accepted; the only importer of picows.

Sanic reads the handshake like any other request, so that one port serves all and routing, tokens and the answers to bad
handshakes are the same as everywhere. Then picows gets the connection and Sanic forgets it (decision 0006).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import structlog
from picows import WSListener, WSMsgType, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined] # missing in its stub
from sanic.exceptions import SanicException
from sanic.server.protocols.http_protocol import HttpProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request as WebSocketRequest
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from chatserver.errors import BadRequest, UpgradeRequired
from chatserver.protocol import MAX_FRAME_BYTES, PING_SECONDS, SUBPROTOCOL

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport, WSUpgradeRequest
    from picows.picows import WSCloseHandshake

    from chatserver.routes.context import Request

# A reader that takes nothing for so long is gone or stuck; its frames would only age.
WRITE_SECONDS = 20.0
# The peer's part of the closing handshake, and what the transport still holds.
CLOSE_SECONDS = 5.0
# Between two looks at all connections: 10,000 of them take 3 ms.
SWEEP_SECONDS = 1.0
# What most frames of clients fit in; it grows with the largest frame a client sends, and 10,000 clients have one each.
READ_BUFFER_BYTES = 2048

# Of RFC 6455, section 7.4.1.
CLOSE_OK = 1000
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_INVALID_TEXT = 1007
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL_ERROR = 1011

log = structlog.get_logger()

# With an adapter picows makes no logger of its own for each connection.
_LOG = logging.LoggerAdapter(logging.getLogger("picows.server"))


@dataclass(frozen=True, slots=True)
class Handshake:
    """A well-formed handshake.

    Attributes:
        key: what the client sent to be answered.
        subprotocol: what is agreed on; None when the client offers none.
    """

    key: str
    subprotocol: str | None


class Owner(Protocol):
    """Whoever talks over a socket."""

    def receive(self, data: str | bytes) -> None:
        """Take a message, text or binary."""

    def flush(self) -> None:
        """Write what waits: the peer reads again."""

    def stuck(self) -> None:
        """Hear that the peer has read nothing for WRITE_SECONDS."""

    def ended(self, code: int) -> None:
        """Hear that the connection is gone, once, after all else.

        Args:
            code: with which this server closed it; 0 if it was not this server.
        """


class Socket(WSListener):
    """One WebSocket: messages out of frames, pauses, the closing handshake.

    Attributes:
        paused: the peer reads too slowly; ``Owner.flush`` tells when to go on.
    """

    __slots__ = (
        "_closing_since",
        "_heard_at",
        "_is_text",
        "_owner",
        "_partial",
        "_paused_since",
        "_pinged",
        "_transport",
        "paused",
    )

    def __init__(self, owner: Owner) -> None:
        self.paused = False
        self._owner = owner
        self._transport: WSTransport | None = None
        self._partial: bytearray | None = None
        self._is_text = False
        self._heard_at = time.monotonic()
        self._pinged = False
        self._paused_since = 0.0
        self._closing_since = 0.0

    # --- called by the owner

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, closing ones included."""
        return self._transport is not None

    def write(self, frames: list[bytes]) -> None:
        """Send text messages, in this order."""
        transport = self._transport
        if transport is None or self._closing_since:
            return
        for frame in frames:
            transport.send(WSMsgType.TEXT, frame)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake behind what was written; the first code holds."""
        if self._transport is None or self._closing_since:
            return
        self._closing_since = time.monotonic()
        self._transport.send_close(code, reason)  # type: ignore[arg-type] # its enumeration ends at 1014

    def look_after(self, now: float) -> None:
        """Ping a silent peer, and cut one that is gone or stuck.

        Args:
            now: of ``time.monotonic``.
        """
        transport = self._transport
        if transport is None:
            return
        if self._closing_since:
            if now - self._closing_since > CLOSE_SECONDS:
                transport.disconnect(graceful=False)
        elif self.paused and now - self._paused_since > WRITE_SECONDS:
            self._owner.stuck()
        elif now - self._heard_at > 2 * PING_SECONDS:
            transport.disconnect(graceful=False)
        elif now - self._heard_at > PING_SECONDS and not self._pinged:
            self._pinged = True
            transport.send_ping()

    # --- called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Note that the handshake is answered."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame; picows has answered pings."""
        self._heard_at = time.monotonic()
        self._pinged = False
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            # It may come without a code, which must not be sent.
            self.close(int(frame.get_close_code()) or CLOSE_OK, "")  # type: ignore[call-overload] # an int at run time
            transport.disconnect()
        elif self._closing_since or kind in {WSMsgType.PING, WSMsgType.PONG}:
            return
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(CLOSE_PROTOCOL_ERROR, "no extension was agreed on")
        elif kind == WSMsgType.TEXT and frame.fin and self._partial is None:
            self._hand_over(frame.get_payload_as_bytes(), is_text=True)
        else:
            self._collect(kind, frame)

    def _collect(self, kind: WSMsgType, frame: WSFrame) -> None:
        """Join a message that came in several frames; binary ones go this way too."""
        if (kind == WSMsgType.CONTINUATION) != (self._partial is not None):
            self.close(CLOSE_PROTOCOL_ERROR, "a frame continues no message or breaks into one")
            return
        if self._partial is None:
            self._partial, self._is_text = bytearray(), kind == WSMsgType.TEXT
        self._partial += frame.get_payload_as_memoryview()
        if len(self._partial) > MAX_FRAME_BYTES:
            self.close(CLOSE_TOO_BIG, "the message is too big")
        elif frame.fin:
            whole, self._partial = bytes(self._partial), None
            self._hand_over(whole, is_text=self._is_text)

    def _hand_over(self, message: bytes, *, is_text: bool) -> None:
        try:
            data = message.decode() if is_text else message
        except UnicodeDecodeError:
            self.close(CLOSE_INVALID_TEXT, "text is not UTF-8")
            return
        try:
            self._owner.receive(data)
        except Exception:
            log.exception("frame_failed")
            self.close(CLOSE_INTERNAL_ERROR, "")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell the owner."""
        self._transport = None
        closing: WSCloseHandshake | None = transport.close_handshake
        sent = None if closing is None or closing.recv_then_sent else closing.sent
        self._owner.ended(0 if sent is None else int(sent.code))  # type: ignore[call-overload] # an int at run time

    def pause_writing(self) -> None:
        """Hold back until the peer has read what the transport holds."""
        self.paused = True
        self._paused_since = time.monotonic()

    def resume_writing(self) -> None:
        """Go on."""
        self.paused = False
        self._owner.flush()


class Sockets:
    """All sockets of this server, so that one loop looks after them: a timer each would cost more than the socket."""

    def __init__(self) -> None:
        self._sockets: set[Socket] = set()

    def add(self, socket: Socket) -> None:
        """Look after a socket from now on."""
        self._sockets.add(socket)

    def discard(self, socket: Socket) -> None:
        """Forget a socket."""
        self._sockets.discard(socket)

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for socket in list(self._sockets):
                socket.look_after(now)


def read_handshake(request: Request) -> Handshake:
    """Check a WebSocket handshake; sends nothing.

    Raises:
        UpgradeRequired: the request is no WebSocket handshake.
        BadRequest: it is a malformed one.
    """
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise UpgradeRequired
    # A client that offers no subprotocol gets the only one there is; one that offers others is refused.
    offered = [Subprotocol(SUBPROTOCOL)] if "sec-websocket-protocol" in request.headers else None
    machine = ServerProtocol(subprotocols=offered)
    answer = machine.accept(_as_websockets_request(request))
    if answer.status_code != 101:  # noqa: PLR2004 - Switching Protocols
        raise BadRequest("The WebSocket handshake is malformed.")
    return Handshake(request.headers["sec-websocket-key"], machine.subprotocol)


def accept(request: Request, handshake: Handshake, headers: dict[str, str], owner: Owner) -> Socket | None:
    """Answer 101 and give the connection to picows; None when the client has gone meanwhile.

    Args:
        request: the upgrade, of which nothing was answered yet.
        handshake: of that request.
        headers: of the answer, beside those of the handshake.
        owner: who talks from now on; ``ended`` is called for it if a socket is returned.
    """
    transport = cast("asyncio.Transport", request.transport)
    http = transport.get_protocol()
    if not isinstance(http, HttpProtocol):
        raise SanicException("the connection is no longer HTTP")
    if transport.is_closing():
        return None
    if handshake.subprotocol is not None:
        headers = headers | {"Sec-WebSocket-Protocol": handshake.subprotocol}
    socket = Socket(owner)
    machine = _make_protocol(socket, headers)
    early = bytes(http.recv_buffer)
    # Sanic's task for the connection ends with this request; without a transport it closes nothing.
    http.connections.discard(http)
    http.transport = None
    # A transport chooses how it reads when reading starts: into Sanic's buffer or into picows's.
    transport.pause_reading()
    transport.set_protocol(machine)
    machine.connection_made(transport)
    _feed(machine, _canonical(handshake))
    if not socket.is_open:
        transport.abort()
        return None
    _feed(machine, early)
    transport.resume_reading()
    return socket


def _as_websockets_request(request: Request) -> WebSocketRequest:
    return WebSocketRequest(path=request.path, headers=Headers(request.headers))


def _make_protocol(socket: Socket, headers: dict[str, str]) -> WSProtocol:
    def choose(_request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), socket)

    return WSProtocol(
        None,
        None,
        is_client_side=False,
        ws_listener_factory=choose,
        logger=_LOG,
        disconnect_on_exception=True,
        websocket_handshake_timeout=None,
        # One loop pings for all.
        enable_auto_ping=False,
        auto_ping_idle_timeout=PING_SECONDS,
        auto_ping_reply_timeout=PING_SECONDS,
        auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
        enable_auto_pong=True,
        max_frame_size=MAX_FRAME_BYTES,
        extra_headers=None,
        read_buffer_init_size=READ_BUFFER_BYTES,
    )


def _canonical(handshake: Handshake) -> bytes:
    """The handshake for picows, which starts with one: what was checked, and nothing that the client wrote besides."""
    return (
        "GET /api/ws HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {handshake.key}\r\n\r\n"
    ).encode()


def _feed(machine: WSProtocol, data: bytes) -> None:
    while data:
        buffer = machine.get_buffer(-1)
        taken = min(len(buffer), len(data))
        buffer[:taken] = data[:taken]
        machine.buffer_updated(taken)
        data = data[taken:]
