"""A WebSocket: messages out of frames, pauses, pings, the closing handshake; the only importer of picows."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from picows import WSListener, WSMsgType, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined] # missing in its stub

from chatserver.closing import CLOSE_INTERNAL_ERROR, End
from chatserver.protocol import CLOSE_PACE, CLOSE_TOO_LARGE, MAX_FRAME_BYTES, PING_SECONDS
from chatserver.supervision import caught
from chatserver.transport.frames import (
    CLOSE_INVALID_TEXT,
    CLOSE_PROTOCOL_ERROR,
    NOT_UTF8,
    Fragments,
    MessageTooLargeError,
    answer_to_close,
    header,
)

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport, WSUpgradeRequest
    from picows.picows import WSCloseHandshake

    from chatserver.transport.owner import Owner
    from chatserver.transport.upkeep import Sockets

# A peer that reads nothing for so long is gone or stuck; its frames would only age.
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

# Frames that may come while the connection closes, until nothing more is read.
MOST_IGNORED = 1000

# With an adapter picows makes no logger of its own for each connection.
_LOG = logging.LoggerAdapter(logging.getLogger("picows.server"))


class Socket(WSListener):
    """One WebSocket: messages out of frames, pauses, the closing handshake.

    Args:
        owner: who talks over it.
        open_sockets: has it from the handshake to its end.

    Attributes:
        paused: the peer reads too slowly; ``Owner.flush`` is called when writing may continue.
    """

    __slots__ = (
        "_closing_since",
        "_end",
        "_fragments",
        "_heard_at",
        "_ignored",
        "_open_sockets",
        "_owed_pong",
        "_owner",
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
        self._fragments: Fragments | None = None
        # The newest ping that could not be answered, since the peer does not read.
        self._owed_pong: bytes | None = None
        self._ignored = 0
        self._heard_at = time.monotonic()
        self._pinged = False
        self._paused_since = 0.0
        self._closing_since = 0.0
        # How it ends if no close frame says otherwise.
        self._end = End.LOST

    # --- called by the owner

    def write(self, frames: list[bytes]) -> bool:
        """Send text messages, in this order; returns False when the connection is closing and none is sent."""
        transport = self._transport
        if transport is None or self._closing_since:
            return False
        if len(frames) == 1:
            # picows writes at once when it can, without the detour over the loop.
            transport.send(WSMsgType.TEXT, frames[0])
            return True
        parts: list[bytes] = []
        for frame in frames:
            parts += (header(len(frame)), frame)
        transport.underlying_transport.write(b"".join(parts))
        return True

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
            self._end = End.SILENT
            transport.disconnect(graceful=False)
        elif now - self._heard_at > PING_SECONDS and not self._pinged:
            self._pinged = True
            transport.send_ping()

    # --- called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Hand the socket to the owner."""
        self._transport = transport
        self._open_sockets.add(self)
        self._owner.opened(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame."""
        self._heard_at = time.monotonic()
        self._pinged = False
        kind = frame.msg_type
        is_extended = frame.rsv1 or frame.rsv2 or frame.rsv3
        if (
            kind == WSMsgType.TEXT
            and frame.fin
            and not (is_extended or self._closing_since)
            and self._fragments is None
        ):
            # Nearly all there are.
            try:
                text = frame.get_payload_as_utf8_text()
            except UnicodeDecodeError:
                self.close(CLOSE_INVALID_TEXT, NOT_UTF8)
            else:
                self._receive(text)
        elif is_extended and not self._closing_since:
            self.close(CLOSE_PROTOCOL_ERROR, "no extension was agreed on")
        elif kind == WSMsgType.CLOSE:
            self.close(answer_to_close(frame.get_payload_as_bytes()), "")
            transport.disconnect()
        elif self._closing_since or (_brings_no_message(frame) and not self._owner.counts()):
            self._ignore(transport)
        elif kind == WSMsgType.PING:
            self._pong(frame.get_payload_as_bytes())
        elif kind != WSMsgType.PONG:
            self._collect(kind, frame)

    def _ignore(self, transport: WSTransport) -> None:
        """Drop a frame that arrives too late or too soon; from a peer that sends many of them nothing more is read."""
        self._ignored += 1
        if self._ignored == MOST_IGNORED:
            transport.underlying_transport.pause_reading()

    def _pong(self, payload: bytes) -> None:
        """Answer a ping, or the newest of several when the peer reads again (RFC 6455, section 5.5.3)."""
        if self.paused:
            self._owed_pong = payload
        elif self._transport is not None:
            self._transport.send_pong(payload)

    def _collect(self, kind: WSMsgType, frame: WSFrame) -> None:
        """Join a message that came in several frames; binary ones go this way too."""
        if (kind == WSMsgType.CONTINUATION) != (self._fragments is not None):
            self.close(CLOSE_PROTOCOL_ERROR, "a frame continues no message or breaks into one")
            return
        if self._fragments is None:
            self._fragments = Fragments(is_text=kind == WSMsgType.TEXT, most_bytes=MAX_FRAME_BYTES)
        try:
            message = self._fragments.add(frame.get_payload_as_bytes(), is_last=bool(frame.fin))
        except MessageTooLargeError:
            self.close(CLOSE_TOO_LARGE, "the message is too big")
        except UnicodeDecodeError:
            self.close(CLOSE_INVALID_TEXT, NOT_UTF8)
        else:
            if message is not None:
                self._fragments = None
                self._receive(message)

    def _receive(self, data: str | bytes) -> None:
        try:
            self._owner.receive(data)
        except Exception as error:  # noqa: BLE001 - whatever a frame provokes, it ends this connection alone
            caught("frame_failed", error)
            self.close(CLOSE_INTERNAL_ERROR, "")

    def cut(self) -> None:
        """End the connection without a handshake, after a defect."""
        self._end = End.CUT
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def grew(self, size: int) -> None:
        """Count a read buffer that has grown so large."""
        self._open_sockets.kept.hold(self, self._owner.user_id, size)

    def give_up(self) -> None:
        """Close the connection: too much memory is kept for large frames."""
        self.close(CLOSE_PACE, "too many large frames")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End the owner's work."""
        self._transport = None
        self._set_paused(False)  # noqa: FBT003 - what it is set to
        self._open_sockets.discard(self)
        closing: WSCloseHandshake | None = transport.close_handshake
        if closing is None or (closing.sent is None and closing.recv is None):
            self._owner.ended(self._end, 0)
        elif closing.sent is None or closing.recv_then_sent:
            self._owner.ended(End.GOODBYE, 0)
        else:
            self._owner.ended(End.CLOSED_HERE, int(closing.sent.code))  # type: ignore[call-overload] # an int

    def pause_writing(self) -> None:
        """Write nothing until the peer has read what the transport holds."""
        self._paused_since = time.monotonic()
        self._set_paused(True)  # noqa: FBT003 - what it is set to

    def _set_paused(self, paused: bool) -> None:  # noqa: FBT001 - what it is set to
        if paused != self.paused:
            self.paused = paused
            self._open_sockets.paused += 1 if paused else -1

    def resume_writing(self) -> None:
        """Continue to write."""
        self._set_paused(False)  # noqa: FBT003 - what it is set to
        owed, self._owed_pong = self._owed_pong, None
        if owed is not None and not self._closing_since:
            self._pong(owed)
        self._owner.flush()


def _brings_no_message(frame: WSFrame) -> bool:
    """Return whether a frame is for the connection alone, or only a part of a message."""
    return not frame.fin or frame.msg_type in {WSMsgType.PING, WSMsgType.PONG}


class _Machine(WSProtocol):  # type: ignore[misc] # picows's, of no type
    """picows's protocol; it reads no more at a time than it needs, and reports when its buffer has grown large."""

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
        # One loop pings all.
        enable_auto_ping=False,
        auto_ping_idle_timeout=PING_SECONDS,
        auto_ping_reply_timeout=PING_SECONDS,
        auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
        # A ping counts like every frame.
        enable_auto_pong=False,
        max_frame_size=MAX_FRAME_BYTES,
        extra_headers=None,
        read_buffer_init_size=FIRST_BUFFER_BYTES,
    )


def feed(machine: WSProtocol, data: bytes) -> None:
    """Give a protocol bytes that were read before it had the connection."""
    while data:
        buffer = machine.get_buffer(-1)
        taken = min(len(buffer), len(data))
        buffer[:taken] = data[:taken]
        machine.buffer_updated(taken)
        data = data[taken:]
