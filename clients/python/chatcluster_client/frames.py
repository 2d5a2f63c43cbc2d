"""The server's frames as types; no I/O. Newer additions are ignored; protocol violations are errors."""

from typing import Any

import msgspec

from chatcluster_client.model import Ack, Item, ReceiptUpdate


class BadServerFrame(Exception):
    """The server sent an invalid frame; the connection cannot be used any more."""


class Welcome(msgspec.Struct, frozen=True):
    """The first frame of a connection."""

    server: str
    user_id: int = 0
    epoch: str = ""
    limits: dict[str, int] = {}


class ChatPosition(msgspec.Struct, frozen=True):
    """The newest position of a chat."""

    chat_id: int
    last_seq: int


class Synced(msgspec.Struct, frozen=True):
    """The end of a sync."""

    chats: list[ChatPosition]
    more: bool = False


class ErrorFrame(msgspec.Struct, frozen=True):
    """The server rejected a frame of the client; `id` names the send."""

    code: str
    detail: str = ""
    id: str | None = None
    retry_after_seconds: float | None = None


class Reconnect(msgspec.Struct, frozen=True):
    """The server moves the client: it must reconnect after this many milliseconds."""

    after_ms: int


class _Message(msgspec.Struct, frozen=True):
    message: dict[str, Any]


class _RowFields(msgspec.Struct, frozen=True):
    """The fields of a row that the client itself uses."""

    chat_id: int
    seq: int
    kind: str = "message"
    from_id: int | None = None
    by: int | None = None
    client_id: str | None = None


ServerFrame = Welcome | Ack | ReceiptUpdate | Synced | ErrorFrame | Reconnect | Item

_TYPES: dict[str, type[Welcome | Ack | ReceiptUpdate | Synced | ErrorFrame | Reconnect]] = {
    "welcome": Welcome,
    "ack": Ack,
    "receipt": ReceiptUpdate,
    "synced": Synced,
    "error": ErrorFrame,
    "reconnect": Reconnect,
}


def decode(data: str | bytes, user_id: int) -> ServerFrame | None:
    """Read a frame.

    Args:
        data: As it came.
        user_id: The user of this client, to recognise their own rows.

    Returns:
        The frame; None for one of a type that this client does not know.

    Raises:
        BadServerFrame: It is no JSON object, or a field of a known type is missing or wrong.
    """
    try:
        frame = msgspec.json.decode(data, type=dict[str, Any])
        kind = frame.get("type")
        if kind == "message":
            return item(msgspec.convert(frame, _Message).message, user_id)
        if kind == "event":
            return item(frame, user_id)
        known = _TYPES.get(kind) if isinstance(kind, str) else None
        return None if known is None else msgspec.convert(frame, known)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadServerFrame(f"{type(error).__name__}: {error}") from error


def item(row: dict[str, Any], user_id: int) -> Item:
    """Return a row as the application gets it.

    Raises:
        msgspec.ValidationError: A field is missing or wrong.
    """
    read = msgspec.convert(row, _RowFields)
    sender = read.by if read.from_id is None else read.from_id
    return Item(read.chat_id, read.seq, read.kind, own=sender == user_id, row=row)


def own_item(ack: Ack, frame: dict[str, Any], user_id: int) -> Item:
    """Return the row of an acknowledged send: the server sends it only to the user's other devices."""
    row = {
        **frame,
        "message_id": ack.message_id,
        "chat_id": ack.chat_id,
        "seq": ack.seq,
        "created_at": ack.created_at,
        "duplicate": ack.duplicate,
        "type": "text",
        "from_id": user_id,
        "client_id": ack.id,
    }
    return Item(ack.chat_id, ack.seq, "message", own=True, row=row)
