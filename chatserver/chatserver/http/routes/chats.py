"""Chats and their histories: ``/api/chats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver import bounds
from chatserver.errors import (
    Blocked,
    ChatNotFound,
    CursorExpired,
    Forbidden,
    MessageNotFound,
    NotAMember,
    NotAnAdmin,
)
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, count_change
from chatserver.http.parsing import Body, answer, path_id, read_body
from chatserver.http.query import NumberParameter, OptionalNumberParameter, Query, TextParameter
from chatserver.messaging import chats, message_info, timers
from chatserver.messaging.rendering import (
    ChangeView,
    ChatView,
    MemberTimesView,
    view_change,
    view_chat,
    view_times,
)
from chatserver.messaging.row_views import RowView
from chatserver.messaging.rows import views_of

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

DEFAULT_LIMIT = 50

_CHATS_LIMIT = NumberParameter("limit", "Maximum number of chats.", least=1, most=chats.LIST_MAX, default=DEFAULT_LIMIT)
_CURSOR = TextParameter("cursor", "The last answer's next_cursor.", bounds.Cursor)
_CHANGED_SINCE = TextParameter(
    "changed_since", "An earlier answer's next_changed_since: only chats that have changed since.", bounds.Cursor
)
_BEFORE = OptionalNumberParameter("before", "The newest rows below this seq.")
_AFTER = OptionalNumberParameter("after", "The oldest rows above this seq.")
_ROWS_LIMIT = NumberParameter(
    "limit", "Maximum number of rows.", least=1, most=chats.HISTORY_MAX, default=DEFAULT_LIMIT
)


class ChatsAnswer(TypedDict):
    """A page of chats; `next_cursor` is null on the last one, and `next_changed_since` on the others."""

    chats: list[ChatView]
    next_cursor: str | None
    next_changed_since: str | None


class InfoAnswer(TypedDict):
    """When each member who may see a message received and read it."""

    members: list[MemberTimesView]


@CALLS.add("GET /api/chats", query=(_CHATS_LIMIT, _CURSOR, _CHANGED_SINCE), answer=ChatsAnswer, errors=(CursorExpired,))
async def list_chats(request: Request) -> HTTPResponse:
    """List the caller's chats, the most recently active first."""
    caller = await authenticate(request)
    query = Query(request)
    page = await chats.list_chats(
        request.app.ctx.database,
        caller.user_id,
        limit=query[_CHATS_LIMIT],
        cursor=query[_CURSOR],
        changed_since=query[_CHANGED_SINCE],
    )
    return answer(
        ChatsAnswer(
            chats=[view_chat(chat, caller.user_id) for chat in page.chats],
            next_cursor=page.next_cursor,
            next_changed_since=page.next_changed_since,
        )
    )


@CALLS.add("GET /api/chats/{chat_id}", answer=ChatView, errors=(ChatNotFound,))
async def get_chat(request: Request, chat_id: str) -> HTTPResponse:
    """Return one chat."""
    caller = await authenticate(request)
    chat = await chats.get_chat(request.app.ctx.database, caller.user_id, path_id(chat_id, "chat_id"))
    return answer(view_chat(chat, caller.user_id))


@CALLS.add(
    "GET /api/chats/{chat_id}/messages",
    query=(_BEFORE, _AFTER, _ROWS_LIMIT),
    answer=list[RowView],
    errors=(ChatNotFound,),
    headers=(("X-More", "Whether more rows remain in the requested direction: true or false."),),
)
async def get_history(request: Request, chat_id: str) -> HTTPResponse:
    """Return rows of all kinds of one chat, oldest first."""
    caller = await authenticate(request)
    query = Query(request)
    page = await chats.read_history(
        request.app.ctx.database,
        caller.user_id,
        path_id(chat_id, "chat_id"),
        before=query[_BEFORE],
        after=query[_AFTER],
        limit=query[_ROWS_LIMIT],
    )
    return answer(views_of(page.rows), headers={"X-More": str(page.more).lower()})


@CALLS.add(
    "GET /api/chats/{chat_id}/messages/{seq}/info",
    answer=InfoAnswer,
    errors=(ChatNotFound, NotAMember, MessageNotFound, Forbidden),
)
async def get_message_info(request: Request, chat_id: str, seq: str) -> HTTPResponse:
    """Return who received and read a message of the caller, and when."""
    caller = await authenticate(request)
    place = path_id(chat_id, "chat_id"), path_id(seq, "seq")
    members = await message_info.read_info(request.app.ctx.database, caller.user_id, *place)
    return answer(InfoAnswer(members=[view_times(member) for member in members]))


class TimerBody(Body, frozen=True):
    """``PUT /api/chats/{chat_id}/timer``; null ends the timer."""

    seconds: bounds.TimerSeconds | None


@CALLS.add(
    "PUT /api/chats/{chat_id}/timer",
    body=TimerBody,
    answer=ChangeView,
    errors=(ChatNotFound, NotAMember, Blocked, NotAnAdmin),
)
async def put_timer(request: Request, chat_id: str) -> HTTPResponse:
    """Have the messages that are sent from now on disappear after so many seconds, for all members."""
    caller = await authenticate(request)
    body = read_body(request, TimerBody)
    place = path_id(chat_id, "chat_id")
    count_change(request, caller)
    return answer(view_change(await timers.set_timer(request.app.ctx.database, caller.user_id, place, body.seconds)))
