"""A WebSocket: messages out of frames, pauses, pings, the closing handshake; the only importer of picows."""

from __future__ import annotations

import logging
import struct
import time
from typing import TYPE_CHECKING, Any, Protocol

from picows import WSListener, WSMsgType, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined] # missing in its stub

from chatserver.protocol import CLOSE_PACE, CLOSE_TOO_LARGE, MAX_FRAME_BYTES, PING_SECONDS
from chatserver.supervision import caught

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport, WSUpgradeRequest
    from picows.picows import WSCloseHandshake

    from chatserver.routes.upkeep import Sockets


# A reader that takes nothing for so long is gone or stuck; its frames would only age.
WRITE_SECONDS = 20.0
# The peer's part of the closing handshake, and what the transport still holds.
CLOSE_SECONDS = 5.0
# What most frames of clients fit in; it doubles until the largest frame that a client sends fits, and 10,000 clients
# have one each. It never shrinks.
FIRST_BUFFER_BYTES = 2048
# Read at a time: a buffer that is full grows, be it full of small frames that have come at once.
READ_BYTES = 64 * 1024
# Free bytes of a buffer from which on it counts among what is kept for clients: more than a sync of 5,000 chats needs.
LARGE_BUFFER_BYTES = 112 * 1024

# The first byte of a text message in one frame.
TEXT_FIN = 0x81

# Of RFC 6455, section 7.4.1.
CLOSE_OK = 1000
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_INVALID_TEXT = 1007
CLOSE_INTERNAL_ERROR = 1011

# With an adapter picows makes no logger of its own for each connection.
_LOG = logging.LoggerAdapter(logging.getLogger("picows.server"))


class Owner(Protocol):
    """Whoever talks over a socket.

    Attributes:
        user_id: of the user; 0 if it is not known.
    """

    @property
    def user_id(self) -> int:
        """As above."""

    def opened(self, socket: Socket) -> None:
        """Hear that the handshake is answered, before all else."""

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

    Args:
        owner: who talks over it.
        open_sockets: has it from the handshake to its end.

    Attributes:
        paused: the peer reads too slowly; ``Owner.flush`` tells when to go on.
    """

    __slots__ = (
        "_closing_since",
        "_heard_at",
        "_is_text",
        "_open_sockets",
        "_owner",
        "_partial",
        "_paused_since",
        "_pinged",
        "_transport",
        "paused",
    )

    def __init__(self, owner: Owner, open_sockets: Sockets) -> None:
        self.paused = False
        self._owner = owner
        self._open_sockets = open_sockets
        self._transport: WSTransport | None = None
        self._partial: bytearray | None = None
        self._is_text = False
        self._heard_at = time.monotonic()
        self._pinged = False
        self._paused_since = 0.0
        self._closing_since = 0.0

    # --- called by the owner

    def write(self, frames: list[bytes]) -> None:
        """Send text messages, in this order."""
        transport = self._transport
        if transport is None or self._closing_since:
            return
        if len(frames) == 1:
            # picows writes at once when it can, without the detour over the loop.
            transport.send(WSMsgType.TEXT, frames[0])
            return
        parts: list[bytes] = []
        for frame in frames:
            parts += (_header(len(frame)), frame)
        transport.underlying_transport.write(b"".join(parts))

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
        """Tell the owner."""
        self._transport = transport
        self._open_sockets.add(self)
        self._owner.opened(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame; picows has answered pings."""
        self._heard_at = time.monotonic()
        self._pinged = False
        kind = frame.msg_type
        is_extended = frame.rsv1 or frame.rsv2 or frame.rsv3
        if kind == WSMsgType.TEXT and frame.fin and not (is_extended or self._closing_since) and self._partial is None:
            # Nearly all there are.
            self._hand_over(frame.get_payload_as_bytes(), is_text=True)
        elif kind == WSMsgType.CLOSE:
            # It may come without a code, which must not be sent.
            self.close(int(frame.get_close_code()) or CLOSE_OK, "")  # type: ignore[call-overload] # an int at run time
            transport.disconnect()
        elif self._closing_since or kind in {WSMsgType.PING, WSMsgType.PONG}:
            return
        elif is_extended:
            self.close(CLOSE_PROTOCOL_ERROR, "no extension was agreed on")
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
            self.close(CLOSE_TOO_LARGE, "the message is too big")
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
        except Exception as error:  # noqa: BLE001 - whatever a frame provokes, it ends this connection alone
            caught("frame_failed", error)
            self.close(CLOSE_INTERNAL_ERROR, "")

    def cut(self) -> None:
        """End the connection without a handshake."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def grew(self, size: int) -> None:
        """Count a read buffer that has grown so large."""
        self._open_sockets.kept.hold(self, self._owner.user_id, size)

    def give_up(self) -> None:
        """Close the connection: too much memory is kept for large frames."""
        self.close(CLOSE_PACE, "too many large frames")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell the owner."""
        self._transport = None
        self._open_sockets.discard(self)
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


def _header(length: int) -> bytes:
    """Return what goes before a whole text message of a server (RFC 6455, section 5.2).

    Example:
        >>> _header(5).hex(), _header(300).hex()
        ('8105', '817e012c')
    """
    if length < 126:  # noqa: PLR2004 - of the RFC
        return bytes((TEXT_FIN, length))
    if length < 1 << 16:
        return struct.pack("!BBH", TEXT_FIN, 126, length)
    return struct.pack("!BBQ", TEXT_FIN, 127, length)


class _Machine(WSProtocol):  # type: ignore[misc] # picows's, of no type
    """picows's protocol; it reads no more at a time than it needs, and tells when its buffer has grown large."""

    __slots__ = ("_large_bytes", "_socket")

    def __init__(self, socket: Socket, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._socket = socket
        self._large_bytes = LARGE_BUFFER_BYTES

    def get_buffer(self, size_hint: int) -> memoryview:
        """Return where to read into."""
        free: memoryview = super().get_buffer(size_hint)
        size = len(free)
        if size <= READ_BYTES:
            return free
        if size > self._large_bytes:
            # It has just doubled: half of it, or a little less, is taken.
            self._large_bytes = 2 * size
            self._socket.grew(self._large_bytes)
        return free[:READ_BYTES]


def make_protocol(socket: Socket, headers: dict[str, str]) -> WSProtocol:
    """Return picows's protocol for a connection; the first bytes it gets shall be the handshake.

    Args:
        socket: what it calls.
        headers: of the answer, beside those of every handshake.
    """

    def choose(_request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), socket)

    return _Machine(
        socket,
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
        read_buffer_init_size=FIRST_BUFFER_BYTES,
    )


def feed(machine: WSProtocol, data: bytes) -> None:
    """Give a protocol bytes that were read by somebody else."""
    while data:
        buffer = machine.get_buffer(-1)
        taken = min(len(buffer), len(data))
        buffer[:taken] = data[:taken]
        machine.buffer_updated(taken)
        data = data[taken:]
