"""The wire of ``/api/ws``, subprotocol ``chat.v1``: frames, error codes and close codes.

A frame is one JSON object in a text message; ``type`` names it. Unknown fields are ignored, unknown types answered by
an ``error``. Answers to ``send`` may come in another order than the sends: match them by ``id``.

The connection that sent a message gets its ``ack`` and no ``message`` frame for it; the sender's other devices and all
other members get the ``message``. Within a chat, a connection sees ``seq`` ascending and each row once,
until it syncs again: what was on its way then comes twice.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads the annotations at run time
from typing import Annotated, Any, ClassVar

import msgspec

from chatserver import bounds, surrogates
from chatserver.bounds import GivenId, GivenSeq, Id, Seq  # noqa: TC001 - msgspec reads the annotations at run time
from chatserver.model import SendMessage

SUBPROTOCOL = "chat.v1"

# Bytes of one frame from a client: 65,536 characters, each of which JSON may write in 12 bytes (two escapes), and a
# link of 2,048 written in the same way.
MAX_FRAME_BYTES = 800 * 1024
# Seconds between the server's WebSocket pings; a phone's network address translation forgets after 30-60 s.
PING_SECONDS = 20
# Sends and syncs of one connection that may wait for the database at a time.
MAX_IN_FLIGHT = 128
# Frames in a row that only earned an error, after which the connection is taken for broken or hostile.
MAX_REFUSALS = 500
# Frames of one connection: at once, as after a long absence, and a second from then on, 2 % of a CPU.
MAX_FRAMES_AT_ONCE = 10_000
MAX_FRAMES_PER_SECOND = 1000
# Chats a sync may name, users a presence subscription may name.
MAX_SYNC_CHATS = 5000
MAX_SUBSCRIBED_USERS = 1000

# Close codes; only after 4003 and a second 4009 is coming back useless.
CLOSE_TOO_LARGE = 1009  # never send that frame again; come back with back-off, and sync
CLOSE_RESTART = 1012  # come back with back-off: another server takes over
CLOSE_UNAUTHENTICATED = 4001  # sign in, then come back
CLOSE_FORBIDDEN = 4003
CLOSE_PACE = 4008  # too slow in reading or too fast in sending: come back with back-off, and sync
CLOSE_REPLACED = 4009  # the same device has connected again

# With its length: Python's `$` also matches before a newline at the end.
Uuid = Annotated[str, msgspec.Meta(pattern=bounds.UUID.pattern, max_length=36)]


class Frame(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=False):
    """A frame of either direction."""


class Send(
    Frame,
    SendMessage,
    frozen=True,
    kw_only=True,
    tag="send",
    rename={"client_id": "id"},
):
    """Send a message; ``id`` is the message's ``client_id`` and comes back in the ``ack`` or ``error``."""

    client_id: Uuid


class Delivered(Frame, frozen=True, tag="delivered"):
    """Everything up to ``seq`` has reached this device."""

    chat_id: Id
    seq: Seq


class Read(Frame, frozen=True, tag="read"):
    """Everything up to ``seq`` has been read."""

    chat_id: Id
    seq: Seq


class Typing(Frame, frozen=True, tag="typing"):
    """The user is typing in a chat."""

    chat_id: Id


class Sync(Frame, frozen=True, tag="sync"):
    """Bring this device up to date: the highest seq it holds in each chat it knows."""

    chats: Annotated[dict[Id, Seq], msgspec.Meta(max_length=MAX_SYNC_CHATS), bounds.ById]


class Subscribe(Frame, frozen=True, tag="subscribe"):
    """Send the presence of these users from now on, instead of those named before."""

    user_ids: Annotated[list[Id], msgspec.Meta(max_length=MAX_SUBSCRIBED_USERS)]


class Ping(Frame, frozen=True, tag="ping"):
    """For web pages, which cannot send WebSocket pings."""


ClientFrame = Send | Delivered | Read | Typing | Sync | Subscribe | Ping


class Welcome(Frame, frozen=True, tag="welcome"):
    """The first frame of a connection."""

    user_id: GivenId
    conn_id: str
    server: str
    server_time: str
    epoch: str
    limits: dict[str, int]
    ping_seconds: int = PING_SECONDS


class Ack(Frame, frozen=True, tag="ack"):
    """The message is committed."""

    id: str
    message_id: GivenId
    chat_id: GivenId
    seq: GivenSeq
    created_at: str
    duplicate: bool


class Message(Frame, frozen=True, tag="message"):
    """A message, as a row of ``GET /api/messages``."""

    message: msgspec.Struct


class Receipt(Frame, frozen=True, tag="receipt"):
    """A member's watermarks."""

    chat_id: GivenId
    user_id: GivenId
    delivered_seq: GivenSeq
    read_seq: GivenSeq


class Synced(Frame, frozen=True, tag="synced"):
    """Ends a sync: where each chat stands; with ``more``, sync again or fetch the rest by REST."""

    chats: Sequence[msgspec.Raw]
    more: bool


class TypingFrom(Frame, frozen=True, tag="typing"):
    """A user is typing."""

    chat_id: GivenId
    user_id: GivenId


class Presence(Frame, frozen=True, tag="presence"):
    """A user came online or went offline."""

    user_id: GivenId
    online: bool
    last_seen: str | None


class Profile(Frame, frozen=True, tag="profile"):
    """A user who shares a chat with this user has changed their profile, or who sees it."""

    user_id: GivenId
    username: str | None
    profile_picture_url: str | None
    about: str | None
    phone_number: str | None = None


class Error(msgspec.Struct, frozen=True, tag="error", tag_field="type", omit_defaults=True):
    """A frame was rejected or failed; ``id`` is that of the send it answers."""

    code: str
    detail: str
    id: str | None = None
    retry_after_seconds: int | None = None


class Reconnect(Frame, frozen=True, tag="reconnect"):
    """The server or proxy drains, or has too many connections: reconnect after this many milliseconds."""

    after_ms: int


class Pong(Frame, frozen=True, tag="pong"):
    """Answers ``ping``."""


ServerFrame = Welcome | Ack | Message | Receipt | Synced | TypingFrom | Presence | Profile | Error | Reconnect | Pong
REPLIES: dict[type[Frame], tuple[type[msgspec.Struct], ...]] = {
    Send: (Ack, Error),
    Sync: (Synced, Error),
    Ping: (Pong,),
}
"""Frames of clients that are answered, with the frames that answer them."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)


class _AnyFrame(msgspec.Struct, frozen=True):
    id: Any = None


_id_decoder = msgspec.json.Decoder(_AnyFrame)


class BadFrame(Exception):
    """A client's frame is not one of the protocol.

    Attributes:
        code: ``bad_json``, ``bad_frame``, or ``validation_failed`` for an unpaired surrogate.
        detail: what is wrong, with the path of the field.
        frame_id: the frame's ``id``, when it could be read, whole, so that the client can match the error.
    """

    MAX_DETAIL_CHARS: ClassVar[int] = 300

    def __init__(self, code: str, detail: str, frame_id: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.frame_id = frame_id


def _salvage_id(data: str | bytes) -> str | None:
    try:
        value = _id_decoder.decode(data).id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def decode_client_frame(data: str | bytes) -> ClientFrame:
    """Read a client's frame.

    Raises:
        BadFrame: it is not JSON, has an unknown type, or a field is missing or wrong.
    """
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as e:
        # It may quote what was sent.
        found = surrogates.find_unpaired(data) if (frame_id := _salvage_id(data)) is None else None
        frame_id = found.frame_id if found else frame_id
        raise BadFrame("bad_frame", str(e)[: BadFrame.MAX_DETAIL_CHARS], frame_id) from e
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        unpaired = surrogates.find_unpaired(data)
        if unpaired is not None:
            detail = f"{unpaired.path}: {surrogates.MESSAGE}"
            raise BadFrame("validation_failed", detail, unpaired.frame_id) from e
        raise BadFrame("bad_json", "the frame is not JSON") from e


def encode_frame(frame: msgspec.Struct) -> bytes:
    """Encode a server's frame as UTF-8 JSON, once for all its receivers."""
    return _encoder.encode(frame)
