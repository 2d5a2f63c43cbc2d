"""All calls of the API, in the order in which the documents list them, and the Sanic app that routes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sanic import Sanic
from sanic.config import Config

from chatserver.apidocs.documents import document_calls
from chatserver.http import problems, query
from chatserver.http.call import add_routes
from chatserver.http.routes import (
    auth,
    blocks,
    changes,
    chats,
    devices,
    export,
    groups,
    health,
    invites,
    messages,
    own_chats,
    page,
    privacy,
    receipts,
    stars,
    users,
)
from chatserver.protocol import MAX_FRAME_BYTES
from chatserver.socket import route as websocket

if TYPE_CHECKING:
    from chatserver.http.call import Call
    from chatserver.http.context import App, Context

MAX_BODY_BYTES: Final = MAX_FRAME_BYTES
"""Of a request: a text of 65,536 characters, or 1,024 names of a group, however JSON writes them."""

RESPONSE_SECONDS: Final = messages.MAX_WAIT_SECONDS + 30
"""A long poll is answered within this time."""

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than HAProxy's own keep-alive to servers, so that the proxy closes an idle connection."""

_DESCRIBED: tuple[Call, ...] = (
    *auth.CALLS,
    *devices.CALLS,
    *users.CALLS,
    *privacy.CALLS,
    *export.CALLS,
    *messages.CALLS,
    *chats.CALLS,
    *changes.CALLS,
    *own_chats.CALLS,
    *stars.CALLS,
    *blocks.CALLS,
    *receipts.CALLS,
    *groups.CALLS,
    *invites.CALLS,
    *health.CALLS,
    *websocket.CALLS,
)
CALLS: Final[tuple[Call, ...]] = (*_DESCRIBED, *document_calls(_DESCRIBED))


def make_app(context: Context) -> App:
    """Make the Sanic app with all routes."""
    config = Config(
        {
            "REQUEST_MAX_SIZE": MAX_BODY_BYTES,
            "REQUEST_TIMEOUT": context.settings.request_seconds,
            "RESPONSE_TIMEOUT": RESPONSE_SECONDS,
            "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_SECONDS,
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "MOTD": False,
        },
        # Only CHAT_* configures a chatserver.
        env_prefix=None,
    )
    app: App = Sanic(
        "chatserver",
        config=config,
        ctx=context,
        configure_logging=False,
        error_handler=problems.ProblemHandler(),
        strict_slashes=True,
    )
    problems.add_middleware(app)
    query.add_middleware(app)
    add_routes(app, CALLS)
    page.add_routes(app, context.settings.web_root)
    return app
