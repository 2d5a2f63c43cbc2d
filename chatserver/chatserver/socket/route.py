"""``GET /api/ws``: decides which requests get a WebSocket, and gives it to a conversation."""

from __future__ import annotations

import sys
import time
import uuid
from typing import TYPE_CHECKING, cast

from chatserver import protocol
from chatserver.errors import (
    ChatError,
    InternalError,
    RateLimited,
    Unauthenticated,
    UpgradeRequired,
)
from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.registry import SIGNED_OUT
from chatserver.http.browser_sessions import clear_cookie, is_sent
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, bearer_token, client_address, request_id
from chatserver.http.origins import is_of_own_page, is_own_or_allowed
from chatserver.http.query import Query, TextParameter
from chatserver.http.room import NoRoom, check_room
from chatserver.http.sanic_server import connection_of
from chatserver.http.upgrade import Handshake, accept, read_handshake
from chatserver.socket.conversation import Conversation

if TYPE_CHECKING:
    from chatserver.closing import End
    from chatserver.http.admission import AdmittingConnection
    from chatserver.model import Principal
    from chatserver.transport.websocket import Socket

CALLS = Calls()

_TICKET = TextParameter("ticket", "From POST /api/ws-ticket, instead of the token.")


def _is_own_page(request: Request) -> bool:
    """Whether the upgrade comes from a page of this host or of an allowed origin; programs send no Origin."""
    origin = request.headers.get("origin")
    if is_sent(request):
        # Only browsers send cookies that they do not know, and their handshakes always have an origin.
        return origin is not None and is_of_own_page(request) is True
    return origin is None or is_own_or_allowed(request, origin)


def _result_of(error: Exception) -> str:
    """Return as what a rejected request for a WebSocket is counted."""
    if isinstance(error, NoRoom):
        return error.result
    if isinstance(error, RateLimited):
        return "limited"
    is_clients = isinstance(error, ChatError) and error.status < InternalError.status
    return "invalid" if is_clients else "unavailable"


async def _identify(request: Request) -> Principal | None:
    """Return who connects, None when the token or ticket is no good."""
    try:
        ticket = Query(request)[_TICKET]
        if ticket is not None and bearer_token(request) is None:
            return await request.app.ctx.devices.redeem_ticket(ticket)
        return await authenticate(request)
    except Unauthenticated:
        return None


class _Refusal:
    """The owner of a socket that is closed as soon as it is open."""

    user_id = 0

    def __init__(self, code: int, reason: str) -> None:
        self._code = code
        self._reason = reason

    def opened(self, socket: Socket) -> None:
        """Close the socket."""
        socket.close(self._code, self._reason)

    def receive(self, data: str | bytes) -> None:
        """Ignore what is sent before the close is seen."""

    def counts(self) -> bool:
        """Whatever is sent is too much."""
        return False

    def flush(self) -> None:
        """Nothing waits."""

    def stuck(self) -> None:
        """Nothing is written."""

    def ended(self, end: End, code: int) -> None:
        """Nothing is left to do."""


def _refuse(request: Request, handshake: Handshake, code: int, reason: str) -> None:
    """Accept and close: a page cannot see an HTTP status of an upgrade, but it can see a close code."""
    headers = _headers(request)
    if code == protocol.CLOSE_UNAUTHENTICATED:
        headers |= clear_cookie(request)
    accept(request, handshake, headers, _Refusal(code, reason), request.app.ctx.sockets)


def _headers(request: Request) -> dict[str, str]:
    return {"X-Request-Id": request_id(request), "X-Chat-Server": request.app.ctx.settings.server_name}


@CALLS.add("GET /api/ws", query=(_TICKET,), status=101, errors=(UpgradeRequired,), signed_in=False)
async def open_web_socket(request: Request) -> None:
    """Open the WebSocket, subprotocol chat.v1, that /asyncapi.json describes. Takes token, cookie or ticket."""
    # Before the connection is picows's.
    connection = cast("AdmittingConnection", connection_of(request))
    opened = request.app.ctx.metrics.connections.opened
    try:
        result = await _answer(request)
    except Exception as error:
        opened.labels(_result_of(error)).inc()
        raise
    else:
        if result is not None:
            opened.labels(result).inc()
    finally:
        request.app.ctx.admission.leave(connection)


async def _answer(request: Request) -> str | None:
    """Answer a request for a WebSocket; returns the result to count, None when the client has gone meanwhile."""
    context = request.app.ctx
    # Everything that the client can fix is checked before its ticket is used up.
    handshake = read_handshake(request)
    if not _is_own_page(request):
        _refuse(request, handshake, protocol.CLOSE_FORBIDDEN, "this page's origin is not allowed")
        return "forbidden"
    check_room(context)
    caller = await _identify(request)
    if caller is None:
        _refuse(request, handshake, protocol.CLOSE_UNAUTHENTICATED, "sign in")
        return "unauthenticated"
    await context.deliverer.arrivals.expect(caller.user_id)
    epoch = await context.health.epoch()
    connection = ClientConnection(uuid.uuid4().hex[:16], caller.user_id, caller.device_id)
    # Interned: thousands of connections come from a few proxies.
    connection.proxy = sys.intern(str(request.ip))
    accepted = False
    try:
        await context.deliverer.claims.claim(context.bus, connection)
        # It was not among the connections yet when its sign-out was heard.
        if context.devices.is_ended(caller.device_id):
            _refuse(request, handshake, protocol.CLOSE_UNAUTHENTICATED, SIGNED_OUT)
            return "unauthenticated"
        conversation = Conversation(context, connection, epoch, client_address(request))
        accepted = accept(request, handshake, _headers(request), conversation, context.sockets)
    finally:
        if not accepted:
            context.hub.remove(connection, time.monotonic())
    return "accepted" if accepted else None
