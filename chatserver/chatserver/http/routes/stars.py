"""Starred messages: ``/api/stars`` and ``/api/chats/{chat_id}/messages/{seq}/star``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver import bounds
from chatserver.errors import ChatNotFound, MessageNotFound
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, count_change
from chatserver.http.parsing import answer, path_id
from chatserver.http.query import NumberParameter, Query, TextParameter
from chatserver.messaging import stars
from chatserver.messaging.rendering import ChangeView, StarView, view_change, view_star

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

DEFAULT_LIMIT = 50

_STAR = "/api/chats/{chat_id}/messages/{seq}/star"
_ERRORS = (ChatNotFound, MessageNotFound)
_LIMIT = NumberParameter("limit", "Maximum number of messages.", least=1, most=stars.LIST_MAX, default=DEFAULT_LIMIT)
_CURSOR = TextParameter("cursor", "The last answer's next_cursor.", bounds.Cursor)


class StarsAnswer(TypedDict):
    """A page of starred messages; `next_cursor` is null on the last one."""

    stars: list[StarView]
    next_cursor: str | None


async def _set_star(request: Request, chat_id: str, seq: str, *, starred: bool) -> HTTPResponse:
    caller = await authenticate(request)
    place = path_id(chat_id, "chat_id"), path_id(seq, "seq")
    count_change(request, caller)
    change = await stars.set_star(request.app.ctx.database, caller.user_id, *place, starred=starred)
    return answer(view_change(change))


@CALLS.add(f"PUT {_STAR}", answer=ChangeView, errors=_ERRORS)
async def put_star(request: Request, chat_id: str, seq: str) -> HTTPResponse:
    """Star a message, for the caller alone."""
    return await _set_star(request, chat_id, seq, starred=True)


@CALLS.add(f"DELETE {_STAR}", answer=ChangeView, errors=_ERRORS)
async def remove_star(request: Request, chat_id: str, seq: str) -> HTTPResponse:
    """Remove the caller's star from a message."""
    return await _set_star(request, chat_id, seq, starred=False)


@CALLS.add("GET /api/stars", query=(_LIMIT, _CURSOR), answer=StarsAnswer)
async def list_stars(request: Request) -> HTTPResponse:
    """List the messages that the caller has starred, the newest star first."""
    caller = await authenticate(request)
    query = Query(request)
    page = await stars.list_stars(request.app.ctx.database, caller.user_id, limit=query[_LIMIT], cursor=query[_CURSOR])
    views = [view for star in page.stars if (view := view_star(star)) is not None]
    return answer(StarsAnswer(stars=views, next_cursor=page.next_cursor))
