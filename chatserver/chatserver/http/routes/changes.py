"""Changes to messages already sent: ``/api/chats/{chat_id}/messages/{seq}``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import bounds
from chatserver.errors import ValidationFailed
from chatserver.http.context import App, Request, authenticate, count_change
from chatserver.http.parsing import Body, Query, answer, path_id, read_body
from chatserver.messaging import changes
from chatserver.messaging.rendering import view_change

if TYPE_CHECKING:
    from sanic.response import HTTPResponse


class EditBody(Body, frozen=True):
    """``PATCH /api/chats/{chat_id}/messages/{seq}``."""

    text: bounds.Text


def _place(chat_id: str, seq: str) -> tuple[int, int]:
    return path_id(chat_id, "chat_id"), path_id(seq, "seq")


async def edit_message(request: Request, chat_id: str, seq: str) -> HTTPResponse:
    """Give a message another text."""
    caller = await authenticate(request)
    body = read_body(request, EditBody)
    place = _place(chat_id, seq)
    count_change(request, caller, body.text)
    return answer(view_change(await changes.edit_message(request.app.ctx.database, caller.user_id, *place, body.text)))


async def delete_message(request: Request, chat_id: str, seq: str) -> HTTPResponse:
    """Delete a message for everyone, or with ``?for=me`` for the caller alone."""
    caller = await authenticate(request)
    whom = Query(request, ("for",)).text("for") or "everyone"
    if whom not in {"me", "everyone"}:
        raise ValidationFailed.of("for", "must be me or everyone")
    place = _place(chat_id, seq)
    count_change(request, caller)
    delete = changes.hide_message if whom == "me" else changes.delete_message
    return answer(view_change(await delete(request.app.ctx.database, caller.user_id, *place)))


async def put_reaction(request: Request, chat_id: str, seq: str, emoji: str) -> HTTPResponse:
    """React to a message."""
    caller = await authenticate(request)
    place = _place(chat_id, seq)
    count_change(request, caller, emoji)
    return answer(view_change(await changes.put_reaction(request.app.ctx.database, caller.user_id, *place, emoji)))


async def remove_reaction(request: Request, chat_id: str, seq: str, emoji: str) -> HTTPResponse:
    """Take a reaction away."""
    caller = await authenticate(request)
    place = _place(chat_id, seq)
    count_change(request, caller, emoji)
    return answer(view_change(await changes.remove_reaction(request.app.ctx.database, caller.user_id, *place, emoji)))


def add_routes(app: App) -> None:
    """Route this file's calls."""
    message = "/api/chats/<chat_id:str>/messages/<seq:str>"
    reaction = f"{message}/reactions/<emoji:str>"
    app.add_route(edit_message, message, {"PATCH"}, name="message_edit")
    app.add_route(delete_message, message, {"DELETE"}, name="message_delete")
    app.add_route(put_reaction, reaction, {"PUT"}, name="reaction_put", unquote=True)
    app.add_route(remove_reaction, reaction, {"DELETE"}, name="reaction_delete", unquote=True)
