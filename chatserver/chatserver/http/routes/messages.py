"""Sending and polling: ``/api/messages``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from chatserver.http.context import App, Request, authenticate
from chatserver.http.parsing import Body, Query, answer, read_body
from chatserver.messaging import feed
from chatserver.messaging.feed import FeedQuestion
from chatserver.messaging.rendering import view_sent
from chatserver.messaging.rows import views_of
from chatserver.model import MessageType, SendMessage

if TYPE_CHECKING:
    from sanic.response import HTTPResponse


# Longest long poll; every proxy on the way must wait longer.
MAX_WAIT_SECONDS = 60
DEFAULT_LIMIT = 100


class MessageBody(Body, SendMessage, frozen=True):
    """``POST /api/messages``: to one of `to` and `chat_id`; the `type` text needs a `text`, others a `media_url`."""

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
                "properties": {"type": {"not": {"const": "text"}}, "media_url": {"type": "string"}},
                "required": ["type", "media_url"],
            },
        ],
    }


async def post_message(request: Request) -> HTTPResponse:
    """Send a message; answered when it is committed."""
    caller = await authenticate(request)
    body = read_body(request, MessageBody)
    sent = await request.app.ctx.messages.send(caller.user_id, body)
    return answer(view_sent(sent))


async def get_messages(request: Request) -> HTTPResponse:
    """Return what is new, waiting for it if asked to."""
    caller = await authenticate(request)
    query = Query(request, ("since", "limit", "wait", "events"))
    since, events = query.text("since"), query.flag("events")
    limit = query.integer("limit", DEFAULT_LIMIT, least=1, most=feed.PAGE_ROWS_MAX)
    wait_seconds = query.integer("wait", 0, least=0, most=MAX_WAIT_SECONDS)
    request.ctx.waited = wait_seconds > 0
    context = request.app.ctx
    if wait_seconds and not context.health.refusing:
        page = await context.polls.wait(caller, FeedQuestion(since, limit, events), wait_seconds)
    else:
        page = await feed.read_feed(context.database, caller.user_id, since=since, limit=limit, events=events)
    return answer(views_of(page.rows), headers={"X-Next-Since": page.next_since, "X-More": str(page.more).lower()})


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(post_message, "/api/messages", {"POST"}, name="messages_post")
    app.add_route(get_messages, "/api/messages", {"GET"}, name="messages")
