"""The upgrade to a WebSocket: Sanic reads the handshake, then picows gets the connection and Sanic forgets it.

One port serves all, and routing, tokens and the answers to bad handshakes are the same as everywhere (decision 0006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from websockets.datastructures import Headers
from websockets.http11 import Request as WebSocketRequest
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from chatserver.errors import BadRequest, UpgradeRequired
from chatserver.http.sanic_server import is_upgrade, release
from chatserver.protocol import SUBPROTOCOL
from chatserver.transport.websocket import Socket, feed, make_protocol

if TYPE_CHECKING:
    from chatserver.http.context import Request
    from chatserver.transport.owner import Owner
    from chatserver.transport.upkeep import Sockets

VERSION = "13"
"""Of RFC 6455, the only one."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A well-formed handshake.

    Attributes:
        key: what the client sent to be answered.
        subprotocol: what is agreed on; None when the client offers none.
    """

    key: str
    subprotocol: str | None


def read_handshake(request: Request) -> Handshake:
    """Check a WebSocket handshake; sends nothing.

    Raises:
        UpgradeRequired: the request is no WebSocket handshake.
        BadRequest: it is a malformed one.
    """
    if not is_upgrade(request):
        raise UpgradeRequired
    if request.headers.getall("sec-websocket-version", [VERSION]) != [VERSION]:
        raise UpgradeRequired(f"Only version {VERSION} of WebSocket is supported.")
    if request.body or request.version != "1.1":
        raise BadRequest("A WebSocket handshake is HTTP/1.1 and has no body.")
    # A client that offers no subprotocol gets the only one there is; one that offers others is refused.
    offered = [Subprotocol(SUBPROTOCOL)] if "sec-websocket-protocol" in request.headers else None
    machine = ServerProtocol(subprotocols=offered)
    answer = machine.accept(_as_websockets_request(request))
    if answer.status_code != 101:  # noqa: PLR2004 - Switching Protocols
        raise BadRequest("The WebSocket handshake is malformed.")
    return Handshake(request.headers["sec-websocket-key"], machine.subprotocol)


def accept(
    request: Request, handshake: Handshake, headers: dict[str, str], owner: Owner, open_sockets: Sockets
) -> bool:
    """Answer 101 and give the connection to picows; False when the client has gone meanwhile.

    Args:
        request: the upgrade, of which nothing was answered yet.
        handshake: of that request.
        headers: of the answer, beside those of the handshake.
        owner: who talks from now on; hears that the socket is open before this returns.
        open_sockets: what looks after it.
    """
    if request.transport.is_closing():
        return False
    if handshake.subprotocol is not None:
        headers = headers | {"Sec-WebSocket-Protocol": handshake.subprotocol}
    machine = make_protocol(Socket(owner, open_sockets), headers)
    transport, early = release(request)
    # A transport chooses how it reads when reading starts: into Sanic's buffer or into picows's.
    transport.pause_reading()
    transport.set_protocol(machine)
    machine.connection_made(transport)
    feed(machine, _canonical(handshake) + early)
    transport.resume_reading()
    return True


def _as_websockets_request(request: Request) -> WebSocketRequest:
    return WebSocketRequest(path=request.path, headers=Headers(list(request.headers.items())))


def _canonical(handshake: Handshake) -> bytes:
    """The handshake for picows, which starts with one: what was checked, and nothing that the client wrote besides."""
    return (
        "GET /api/ws HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {handshake.key}\r\n\r\n"
    ).encode()
