"""Rows as the JSON that clients see: one shape for REST and WebSocket, each row encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict, cast

import msgspec

from chatserver.bounds import GivenId, GivenSeq  # noqa: TC001 - msgspec reads the annotations
from chatserver.events import AnyDetail, shown_detail
from chatserver.model import (  # noqa: TC001 - msgspec reads the annotations
    EventKind,
    MessageType,
    Reaction,
    Status,
)
from chatserver.protocol import Message, encode_frame
from chatserver.supervision import caught
from chatserver.times import MICROSECONDS, rfc3339

if TYPE_CHECKING:
    from chatserver.model import MessageRow
    from chatserver.storage.messages import AppendResult, NewMessage


class RowView(msgspec.Struct, frozen=True, rename={"from_name": "from"}):
    """A row as in ``GET /api/messages``, histories and ``message`` frames."""

    message_id: GivenId
    chat_id: GivenId
    seq: GivenSeq
    kind: EventKind
    from_name: str
    from_id: GivenId
    to: str | None
    text: str | None
    type: MessageType
    media_url: str | None
    timestamp: int
    created_at: str
    status: Status
    client_id: str
    reply_to: GivenSeq | None
    target_seq: GivenSeq | None
    detail: AnyDetail | None
    edited_at: str | None
    deleted_at: str | None
    reactions: tuple[Reaction, ...]


class EventFrame(TypedDict):
    """A row of another kind than ``message``; the members of its ``detail`` but ``event`` stand beside these, too."""

    type: Literal["event"]
    chat_id: GivenId
    seq: GivenSeq
    kind: EventKind
    by: int
    at: str
    detail: AnyDetail
    target_seq: NotRequired[GivenSeq]
    text: NotRequired[str]


def view_row(row: MessageRow) -> RowView:
    """Return a row as clients see it."""
    return RowView(
        message_id=row.message_id,
        chat_id=row.chat_id,
        seq=row.seq,
        kind=row.kind,
        from_name=row.from_name,
        from_id=row.from_id,
        to=row.to,
        text=row.text,
        type=row.type,
        media_url=row.media_url,
        timestamp=row.created_at_us // MICROSECONDS,
        created_at=rfc3339(row.created_at_us),
        status=row.status,
        client_id=row.client_id,
        reply_to=row.reply_to,
        target_seq=row.target_seq,
        detail=None if row.kind == "message" else _view_detail(row),
        # Nearly all rows have neither, and each row of a sync comes by here.
        edited_at=None if row.edited_at_us is None else rfc3339(row.edited_at_us),
        deleted_at=None if row.deleted_at_us is None else rfc3339(row.deleted_at_us),
        reactions=row.reactions,
    )


def _view_detail(row: MessageRow) -> AnyDetail:
    # It is encoded as it is: making an object first would only cost time, and lose what a later version stored.
    return cast("AnyDetail", shown_detail(row.kind, row.detail))


def view_or_none(row: MessageRow) -> RowView | None:
    """Return a row as ``view_row`` does; None when it cannot be rendered, which is logged and counted."""
    try:
        return view_row(row)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a row, it is wrong with this row alone
        caught("row_not_rendered", error, chat_id=row.chat_id, seq=row.seq)
        return None


def frame_of_row(row: MessageRow) -> bytes:
    """Encode a row as a ``message`` frame, or as an ``event`` frame when it is of another kind."""
    if row.kind == "message":
        return encode_frame(Message(view_row(row)))
    event = {
        **(row.detail or {}),
        "type": "event",
        "chat_id": row.chat_id,
        "seq": row.seq,
        "kind": row.kind,
        "by": row.from_id,
        "at": rfc3339(row.created_at_us),
        "detail": shown_detail(row.kind, row.detail),
    }
    if row.target_seq is not None:
        event["target_seq"] = row.target_seq
    if row.text is not None:
        event["text"] = row.text
    return msgspec.json.encode(event)


def frame_of_stored(message: NewMessage, result: AppendResult, status: Status = "sent") -> bytes:
    """Encode a message that has just been stored as its ``message`` frame: nobody has got it yet, or changed it."""
    created_at_us = result.created_at_us or 0
    view = RowView(
        message_id=result.message_id or 0,
        chat_id=message.chat_id,
        seq=result.seq or 0,
        kind="message",
        from_name=result.from_name,
        from_id=message.sender_id,
        to=result.to_name,
        text=message.text,
        type=message.message_type,
        media_url=message.media_url,
        timestamp=created_at_us // MICROSECONDS,
        created_at=rfc3339(created_at_us),
        status=status,
        client_id=message.client_id,
        reply_to=message.reply_to,
        target_seq=None,
        detail=None,
        edited_at=None,
        deleted_at=None,
        reactions=(),
    )
    return encode_frame(Message(view))
