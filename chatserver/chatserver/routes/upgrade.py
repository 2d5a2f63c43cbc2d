"""The WebSocket under Sanic: a handshake with our headers, writes of many frames at once, closes that end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sanic.exceptions import SanicException
from sanic.server.protocols.websocket_protocol import WebSocketProtocol
from sanic.server.websockets.impl import WebsocketImplProtocol
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from chatserver.errors import BadRequest, UpgradeRequired
from chatserver.protocol import MAX_FRAME_BYTES, PING_SECONDS, SUBPROTOCOL

if TYPE_CHECKING:
    from websockets.http11 import Response

    from chatserver.connection import CloseOrder
    from chatserver.routes.context import Request

# A reader that takes nothing for so long is gone or stuck; its frames would only age.
WRITE_SECONDS = 20.0
# The peer's part of the closing handshake.
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Handshake:
    """A well-formed handshake and what answers it.

    Attributes:
        protocol: the connection that it came on.
        machine: the WebSocket's state machine, open as soon as the answer is sent.
        answer: 101, without the headers that every answer has.
    """

    protocol: WebSocketProtocol
    machine: ServerProtocol
    answer: Response


def read_handshake(request: Request) -> Handshake:
    """Check a WebSocket handshake; sends nothing.

    Raises:
        UpgradeRequired: the request is no WebSocket handshake.
        BadRequest: it is a malformed one.
    """
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise UpgradeRequired
    protocol = request.transport.get_protocol()
    if not isinstance(protocol, WebSocketProtocol):
        raise SanicException("the server was started without WebSocketProtocol")
    # A client that offers no subprotocol gets the only one there is; one that offers others is refused.
    offered = [Subprotocol(SUBPROTOCOL)] if "sec-websocket-protocol" in request.headers else None
    machine = ServerProtocol(max_size=MAX_FRAME_BYTES, subprotocols=offered, state=OPEN)
    answer = machine.accept(protocol.sanic_request_to_ws_request(request))  # type: ignore[arg-type] # our context
    if answer.status_code != 101:  # noqa: PLR2004 - Switching Protocols
        raise BadRequest("The WebSocket handshake is malformed.")
    return Handshake(protocol, machine, answer)


async def accept(handshake: Handshake, headers: dict[str, str]) -> WebsocketImplProtocol:
    """Answer 101 and return the WebSocket.

    Sanic's own handshake takes no headers, and every answer carries the request's id and the server's name.
    """
    protocol, machine, answer = handshake.protocol, handshake.machine, handshake.answer
    lines = [f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"]
    lines += [f"{name}: {value}" for name, value in (*answer.headers.raw_items(), *headers.items())]
    await protocol.send(("\r\n".join(lines) + "\r\n\r\n").encode())  # type: ignore[no-untyped-call]
    socket = WebsocketImplProtocol(
        machine, ping_interval=PING_SECONDS, ping_timeout=PING_SECONDS, close_timeout=CLOSE_SECONDS
    )
    protocol.websocket = socket
    await socket.connection_made(protocol, loop=asyncio.get_running_loop())
    return socket


async def write_frames(socket: WebsocketImplProtocol, frames: list[bytes]) -> bool:
    """Write text frames with one call to the transport; False when the connection is no longer open.

    Raises:
        TimeoutError: the peer has read nothing for WRITE_SECONDS.
    """
    async with asyncio.timeout(WRITE_SECONDS), socket.conn_mutex:
        if socket.ws_proto.state is not OPEN or socket.io_proto is None:
            return False
        for frame in frames:
            socket.ws_proto.send_text(frame)
        await socket.io_proto.send(b"".join(socket.ws_proto.data_to_send()))  # type: ignore[no-untyped-call]
    return True


async def close_socket(socket: WebsocketImplProtocol, order: CloseOrder) -> None:
    """Close a connection, and cut it when the peer does not answer."""
    if not order.flush:
        # Synchronous, ahead of what the transport still holds: a stuck reader cannot hold it up.
        socket.fail_connection(order.code, order.reason)
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(order.code, order.reason)
            await socket.wait_for_connection_lost(CLOSE_SECONDS)
    except TimeoutError:
        pass
    if socket.io_proto is not None and socket.io_proto.transport is not None:
        socket.io_proto.transport.abort()
