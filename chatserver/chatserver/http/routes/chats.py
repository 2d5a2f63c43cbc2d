"""Chats and their histories: ``/api/chats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver.http.context import App, Request, authenticate
from chatserver.http.parsing import Query, answer, path_id
from chatserver.messaging import chats
from chatserver.messaging.rendering import ChatView, view_chat
from chatserver.messaging.rows import views_of

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

DEFAULT_LIMIT = 50


class ChatsAnswer(TypedDict):
    """A page of chats; `next_cursor` is null on the last one."""

    chats: list[ChatView]
    next_cursor: str | None


async def list_chats(request: Request) -> HTTPResponse:
    """List the caller's chats, the most recently active first."""
    caller = await authenticate(request)
    query = Query(request, ("limit", "cursor"))
    limit = query.integer("limit", DEFAULT_LIMIT, least=1, most=chats.LIST_MAX)
    page = await chats.list_chats(request.app.ctx.database, caller.user_id, limit=limit, cursor=query.text("cursor"))
    return answer(
        ChatsAnswer(chats=[view_chat(chat, caller.user_id) for chat in page.chats], next_cursor=page.next_cursor)
    )


async def get_chat(request: Request, chat_id: str) -> HTTPResponse:
    """Return one chat."""
    caller = await authenticate(request)
    chat = await chats.get_chat(request.app.ctx.database, caller.user_id, path_id(chat_id, "chat_id"))
    return answer(view_chat(chat, caller.user_id))


async def get_history(request: Request, chat_id: str) -> HTTPResponse:
    """Return rows of all kinds of one chat, oldest first; ``X-More`` says whether there are further ones."""
    caller = await authenticate(request)
    query = Query(request, ("before", "after", "limit"))
    page = await chats.read_history(
        request.app.ctx.database,
        caller.user_id,
        path_id(chat_id, "chat_id"),
        before=query.optional_integer("before"),
        after=query.optional_integer("after"),
        limit=query.integer("limit", DEFAULT_LIMIT, least=1, most=chats.HISTORY_MAX),
    )
    return answer(views_of(page.rows), headers={"X-More": str(page.more).lower()})


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(list_chats, "/api/chats", {"GET"}, name="chats")
    app.add_route(get_chat, "/api/chats/<chat_id:str>", {"GET"}, name="chat")
    app.add_route(get_history, "/api/chats/<chat_id:str>/messages", {"GET"}, name="history")
