"""Sending and polling: ``/api/messages``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, get_args

import msgspec

from chatserver import bounds
from chatserver.errors import (
    Blocked,
    ChatNotFound,
    CursorExpired,
    IdempotencyConflict,
    NotAMember,
    ServiceUnavailable,
    UserNotFound,
)
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, client_address, request_id, started_at
from chatserver.http.parsing import Body, answer, read_body
from chatserver.http.query import FlagParameter, NumberParameter, Query, TextParameter
from chatserver.messaging import feed
from chatserver.messaging.feed import FeedQuery
from chatserver.messaging.rendering import SentView, view_sent
from chatserver.messaging.row_views import RowView
from chatserver.messaging.rows import views_of
from chatserver.messaging.send_times import Arrival
from chatserver.model import MessageType, SendMessage

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

# Longest long poll; every proxy on the way must wait longer.
MAX_WAIT_SECONDS = 60
DEFAULT_LIMIT = 100

_SINCE = TextParameter(
    "since",
    "The last answer's X-Next-Since (exact), or 1 to 12 digits of Unix seconds (may repeat).",
    bounds.Cursor,
)
_LIMIT = NumberParameter("limit", "Maximum number of rows.", least=1, most=feed.PAGE_ROWS_MAX, default=DEFAULT_LIMIT)
_WAIT = NumberParameter(
    "wait",
    "Seconds to wait for new rows; the answer may come earlier.",
    least=0,
    most=MAX_WAIT_SECONDS,
    default=0,
)
_EVENTS = FlagParameter("events", "Whether to return rows of other kinds than message as well.")


MEDIA_TYPES = sorted(kind for kind in get_args(MessageType) if kind != "text")


class MessageBody(Body, SendMessage, frozen=True):
    """``POST /api/messages``: to `to` or `chat_id`; without `type`, or if it is text, with `text`, else `media_url`."""

    message_type: MessageType = msgspec.field(default="text", name="type")

    # A field that is null counts as missing.
    rules: ClassVar[dict[str, Any]] = {
        "oneOf": [
            {"properties": {"to": {"type": "string"}}, "required": ["to"]},
            {"properties": {"chat_id": {"type": "integer"}}, "required": ["chat_id"]},
        ],
        "anyOf": [
            {
                "properties": {"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}},
                "required": ["text"],
            },
            {
                "properties": {"type": {"type": "string", "enum": MEDIA_TYPES}, "media_url": {"type": "string"}},
                "required": ["type", "media_url"],
            },
        ],
    }


@CALLS.add(
    "POST /api/messages",
    body=MessageBody,
    answer=SentView,
    errors=(UserNotFound, ChatNotFound, NotAMember, Blocked, IdempotencyConflict),
)
async def send_message(request: Request) -> HTTPResponse:
    """Send a message; the answer means that it is committed. Retry with the same client_id."""
    arrival = Arrival(started_at(request), "request_id", request_id(request))
    messages = request.app.ctx.messages
    try:
        caller = await authenticate(request)
    except ServiceUnavailable as error:
        messages.count_outage(arrival, error)
        raise
    sent = await messages.send(caller.user_id, read_body(request, MessageBody), arrival, client_address(request))
    return answer(view_sent(sent))


@CALLS.add(
    "GET /api/messages",
    query=(_SINCE, _LIMIT, _WAIT, _EVENTS),
    answer=list[RowView],
    errors=(CursorExpired,),
    headers=(
        ("X-Next-Since", "The exact cursor: the value of the next call's since."),
        ("X-More", "Whether more rows are available now: true or false."),
    ),
)
async def poll_messages(request: Request) -> HTTPResponse:
    """Return new rows of all chats of the caller, oldest first."""
    caller = await authenticate(request)
    query = Query(request)
    since, events, limit, wait_seconds = query[_SINCE], query[_EVENTS], query[_LIMIT], query[_WAIT]
    request.ctx.waited = wait_seconds > 0
    context = request.app.ctx
    if wait_seconds and not context.health.refusing:
        page = await context.polls.wait(caller, FeedQuery(since, limit, events), wait_seconds)
    else:
        page = await feed.read_feed(context.database, caller.user_id, since=since, limit=limit, events=events)
    return answer(views_of(page.rows), headers={"X-Next-Since": page.next_since, "X-More": str(page.more).lower()})
