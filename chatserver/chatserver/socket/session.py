"""One WebSocket connection's state machine, without I/O: a frame goes in, actions come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from chatserver import protocol
from chatserver.protocol import (
    BadFrame,
    ClientFrame,
    Delivered,
    Error,
    Ping,
    Pong,
    Read,
    Send,
    Subscribe,
    Sync,
    Typing,
    decode_client_frame,
)

# Each further 4 KiB of a frame count as one more frame of the rate.
FRAME_BITS = 12


class State(Enum):
    """Whether a connection takes frames."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Reply:
    """Queue a frame to this connection."""

    frame: Error | Pong


@dataclass(frozen=True, slots=True)
class SubmitMessage:
    """Send a message; call ``SocketSession.finished`` when it is answered."""

    frame: Send


@dataclass(frozen=True, slots=True)
class RunSync:
    """Answer a sync; call ``SocketSession.finished`` when it is answered."""

    have_seq: dict[int, int]


@dataclass(frozen=True, slots=True)
class RaiseWatermarks:
    """Raise the user's watermarks in a chat; None leaves one alone."""

    chat_id: int
    delivered_seq: int | None
    read_seq: int | None


@dataclass(frozen=True, slots=True)
class RelayTyping:
    """Send the other members of a chat that the user types."""

    chat_id: int


@dataclass(frozen=True, slots=True)
class WatchPresence:
    """Watch exactly these users."""

    user_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection with a code of protocol.py."""

    code: int
    reason: str


Started = Send | Sync
"""Frames that wait for the database; made once, since `|` makes a new type each time."""

Action = Reply | SubmitMessage | RunSync | RaiseWatermarks | RelayTyping | WatchPresence | Close


class SocketSession:
    """Decides what a connection's frames lead to.

    Args:
        max_in_flight: sends and syncs that may wait for the database at a time.
        max_refusals: frames in a row that may earn only an error.
        frames_per_second: frames that may come steadily.
        frames_at_once: frames that may come after a pause.
    """

    __slots__ = (
        "_frame_seconds",
        "_max_in_flight",
        "_max_refusals",
        "_most_seconds",
        "_paid_until",
        "_refusals",
        "in_flight",
        "state",
    )

    def __init__(
        self,
        max_in_flight: int = protocol.MAX_IN_FLIGHT,
        max_refusals: int = protocol.MAX_REFUSALS,
        *,
        frames_per_second: int = protocol.MAX_FRAMES_PER_SECOND,
        frames_at_once: int = protocol.MAX_FRAMES_AT_ONCE,
    ) -> None:
        self.state = State.OPEN
        self.in_flight = 0
        self._max_in_flight = max_in_flight
        self._max_refusals = max_refusals
        self._refusals = 0
        self._frame_seconds = 1 / frames_per_second
        # And half a frame, since sums of floats are off by a little.
        self._most_seconds = (frames_at_once + 0.5) / frames_per_second
        self._paid_until = 0.0

    def receive(self, data: str | bytes, now: float) -> tuple[Action, ...]:
        """Take a frame as it came and return what to do, in order; a closed session does nothing.

        Args:
            data: text, or a binary message.
            now: seconds of a monotonic clock.
        """
        if self.state is State.CLOSED:
            return ()
        # A large frame costs what many small ones cost.
        if too_many := self._pay(1 + (len(data) >> FRAME_BITS), now):
            return too_many
        if isinstance(data, bytes):
            return self._refuse(Error("bad_frame", "frames are text messages, not binary ones"))
        try:
            frame = decode_client_frame(data)
        except BadFrame as e:
            return self._refuse(Error(e.code, e.detail, e.frame_id))
        return self._dispatch(frame)

    def count(self, now: float) -> tuple[Action, ...]:
        """Count a frame that brings no message: a ping, a pong, or one of the frames of a message but its last."""
        return () if self.state is State.CLOSED else self._pay(1, now)

    def _pay(self, frames: int, now: float) -> tuple[Action, ...]:
        # Each frame comes by here: no call of max.
        begin = now if self._paid_until < now else self._paid_until  # noqa: FURB136
        self._paid_until = begin + self._frame_seconds * frames
        if self._paid_until - now <= self._most_seconds:
            return ()
        self.state = State.CLOSED
        return (Close(protocol.CLOSE_PACE, "too many frames"),)

    def finished(self) -> None:
        """Record that a send or a sync has been answered."""
        self.in_flight -= 1

    def close(self) -> None:
        """Record that the connection is gone."""
        self.state = State.CLOSED

    def _dispatch(self, frame: ClientFrame) -> tuple[Action, ...]:
        if isinstance(frame, Started):
            return self._start(frame)
        self._refusals = 0
        match frame:
            case Delivered(chat_id=chat_id, seq=seq):
                return (RaiseWatermarks(chat_id, seq, None),)
            case Read(chat_id=chat_id, seq=seq):
                # What has been read has been delivered.
                return (RaiseWatermarks(chat_id, seq, seq),)
            case Typing(chat_id=chat_id):
                return (RelayTyping(chat_id),)
            case Subscribe(user_ids=user_ids):
                return (WatchPresence(frozenset(user_ids)),)
            case Ping():
                return (Reply(Pong()),)

    def _start(self, frame: Started) -> tuple[Action, ...]:
        frame_id = frame.client_id if isinstance(frame, Send) else None
        if isinstance(frame, Send) and (frame.to is None) == (frame.chat_id is None):
            return self._refuse(Error("bad_frame", "a send names exactly one of to and chat_id", frame_id))
        if self.in_flight >= self._max_in_flight:
            detail = f"{self._max_in_flight} sends are waiting already: send again after an ack"
            return self._refuse(Error("overloaded", detail, frame_id, retry_after_seconds=1))
        self._refusals = 0
        self.in_flight += 1
        return (SubmitMessage(frame),) if isinstance(frame, Send) else (RunSync(frame.chats),)

    def _refuse(self, error: Error) -> tuple[Action, ...]:
        self._refusals += 1
        if self._refusals <= self._max_refusals:
            return (Reply(error),)
        self.state = State.CLOSED
        return (Close(protocol.CLOSE_PACE, "too many refused frames"),)
