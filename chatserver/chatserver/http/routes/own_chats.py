"""What a user sets for a chat, or clears of it, for themselves alone: ``/api/chats/{chat_id}``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from chatserver import bounds
from chatserver.errors import ChatNotFound
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, count_change
from chatserver.http.parsing import Body, answer, path_id, read_body
from chatserver.messaging import own_chats
from chatserver.messaging.rendering import ChangeView, view_change

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

Time = Annotated[
    datetime,
    msgspec.Meta(
        tz=True,
        description="RFC 3339 with an offset from UTC, of the years 1970 to 9999.",
    ),
]


class SettingsBody(Body, frozen=True):
    """``PATCH /api/chats/{chat_id}``; a missing field is kept."""

    muted_until: Time | msgspec.UnsetType | None = msgspec.UNSET
    archived: bool | msgspec.UnsetType = msgspec.UNSET
    pinned: bool | msgspec.UnsetType = msgspec.UNSET
    marked_unread: bool | msgspec.UnsetType = msgspec.UNSET


@CALLS.add("PATCH /api/chats/{chat_id}", body=SettingsBody, answer=ChangeView, errors=(ChatNotFound,))
async def set_chat(request: Request, chat_id: str) -> HTTPResponse:
    """Mute, archive, pin a chat or mark it as unread, for the caller alone; a missing field is kept."""
    caller = await authenticate(request)
    body = read_body(request, SettingsBody)
    place = path_id(chat_id, "chat_id")
    count_change(request, caller)
    change = own_chats.SettingsChange(
        muted_until=body.muted_until, archived=body.archived, pinned=body.pinned, marked_unread=body.marked_unread
    )
    changed = await own_chats.change_settings(request.app.ctx.database, caller.user_id, place, change)
    return answer(view_change(changed))


class ClearBody(Body, frozen=True):
    """``POST /api/chats/{chat_id}/clear``; a repeated call clears no more than the first."""

    up_to_seq: bounds.Id


@CALLS.add("POST /api/chats/{chat_id}/clear", body=ClearBody, answer=ChangeView, errors=(ChatNotFound,))
async def clear_history(request: Request, chat_id: str) -> HTTPResponse:
    """Clear the history of a chat up to a row, for the caller alone."""
    caller = await authenticate(request)
    body = read_body(request, ClearBody)
    place = path_id(chat_id, "chat_id")
    count_change(request, caller)
    cleared = await own_chats.clear_history(request.app.ctx.database, caller.user_id, place, body.up_to_seq)
    return answer(view_change(cleared))
