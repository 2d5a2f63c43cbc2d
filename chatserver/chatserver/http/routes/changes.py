"""Changes to messages already sent: ``/api/chats/{chat_id}/messages/{seq}``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver import bounds
from chatserver.errors import Blocked, ChatNotFound, EditTooLate, Forbidden, MessageNotFound, NotAMember
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, count_change
from chatserver.http.parsing import Body, answer, path_id, read_body
from chatserver.http.query import ChoiceParameter, Query
from chatserver.messaging import changes
from chatserver.messaging.rendering import ChangeView, view_change

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

_MESSAGE = "/api/chats/{chat_id}/messages/{seq}"
_REACTION = f"{_MESSAGE}/reactions/{{emoji}}"
_ERRORS = (ChatNotFound, NotAMember, MessageNotFound)
_EMOJI = {"emoji": bounds.Emoji}
_FOR = ChoiceParameter("for", "For whom it is deleted.", ("everyone", "me"), default="everyone")


class EditBody(Body, frozen=True):
    """``PATCH /api/chats/{chat_id}/messages/{seq}``."""

    text: bounds.Text


def _place(chat_id: str, seq: str) -> tuple[int, int]:
    return path_id(chat_id, "chat_id"), path_id(seq, "seq")


@CALLS.add(f"PATCH {_MESSAGE}", body=EditBody, answer=ChangeView, errors=(*_ERRORS, Forbidden, EditTooLate, Blocked))
async def edit_message(request: Request, chat_id: str, seq: str) -> HTTPResponse:
    """Change the text of a message of the caller."""
    caller = await authenticate(request)
    body = read_body(request, EditBody)
    place = _place(chat_id, seq)
    count_change(request, caller, body.text)
    return answer(view_change(await changes.edit_message(request.app.ctx.database, caller.user_id, *place, body.text)))


@CALLS.add(f"DELETE {_MESSAGE}", query=(_FOR,), answer=ChangeView, errors=(*_ERRORS, Forbidden))
async def delete_message(request: Request, chat_id: str, seq: str) -> HTTPResponse:
    """Delete a message for everyone, or for the caller alone."""
    caller = await authenticate(request)
    whom = Query(request)[_FOR]
    place = _place(chat_id, seq)
    count_change(request, caller)
    delete = changes.hide_message if whom == "me" else changes.delete_message
    return answer(view_change(await delete(request.app.ctx.database, caller.user_id, *place)))


@CALLS.add(f"PUT {_REACTION}", texts=_EMOJI, answer=ChangeView, errors=(*_ERRORS, Blocked))
async def put_reaction(request: Request, chat_id: str, seq: str, emoji: str) -> HTTPResponse:
    """React to a message; this replaces another reaction of the caller."""
    caller = await authenticate(request)
    place = _place(chat_id, seq)
    count_change(request, caller, emoji)
    return answer(view_change(await changes.put_reaction(request.app.ctx.database, caller.user_id, *place, emoji)))


@CALLS.add(f"DELETE {_REACTION}", texts=_EMOJI, answer=ChangeView, errors=_ERRORS)
async def remove_reaction(request: Request, chat_id: str, seq: str, emoji: str) -> HTTPResponse:
    """Remove a reaction."""
    caller = await authenticate(request)
    place = _place(chat_id, seq)
    count_change(request, caller, emoji)
    return answer(view_change(await changes.remove_reaction(request.app.ctx.database, caller.user_id, *place, emoji)))
