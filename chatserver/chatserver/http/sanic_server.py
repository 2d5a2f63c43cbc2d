"""All that the chatserver uses of Sanic's internals: what Sanic does not document, and may change in any release.

This relies on Sanic 25.12.1. Before another version is taken, compare these of its files: ``http/http1.py``,
``server/protocols/base_protocol.py``, ``server/protocols/http_protocol.py`` and ``server/async_server.py``.
``tests/chatserver/test_sanic_server.py`` checks the version, and that no other file uses internals.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from sanic.application.state import ApplicationServerInfo
from sanic.exceptions import BadRequest, PayloadTooLarge, RequestTimeout, SanicException
from sanic.http import Http
from sanic.http.constants import HTTP, Stage
from sanic.http.http1 import HTTP_CONTINUE
from sanic.response import HTTPResponse
from sanic.server.protocols.http_protocol import HttpProtocol

from chatserver.errors import TooLarge
from chatserver.http.request_head import check_chunk, find_head_end, read_head
from chatserver.listener import plain_address

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine

    from sanic.compat import Header
    from sanic.models.protocol_types import TransportProtocol
    from sanic.server.async_server import AsyncioServer

    from chatserver.http.call import Handler
    from chatserver.http.context import App, Request
    from chatserver.http.request_head import RequestHead

LEAST_CHECK_SECONDS = 0.1
"""Between two checks of a request that is arriving; Sanic's own minimum."""


class ApiResponse(HTTPResponse):
    """An answer whose headers cost less to write than Sanic's own."""

    __slots__ = ()

    @staticmethod
    def _sanitize_header_value(value: str) -> str:
        # What Sanic removes, line ends and NUL, is not printable. It translates each name and value by a table, which
        # takes a twentieth of the instructions of a call; a look is enough for nearly all of them.
        return value if value.isprintable() else HTTPResponse._sanitize_header_value(value)  # noqa: SLF001


class CheckedHttp(Http):
    """The requests of one connection, read in place of Sanic's reader, which takes what RFC 9112 has servers reject.

    Handlers, the router and the URL parser only ever see requests that they can work with.
    """

    protocol: HttpConnection

    async def http1_request_header(self) -> None:
        """Receive and check a request's head; raise BadRequest or TooLarge."""
        self.protocol.is_unreadable = True
        raw = await self._receive_head()
        # Known before the rest, since no answer to HEAD has a body, not even an error.
        self.head_only = raw.startswith(b"HEAD ")
        head = read_head(raw)
        self.protocol.is_unreadable = False
        self.keep_alive = head.keep_alive
        self.upgrade_websocket = head.upgrades
        self._take_request(raw, head)
        self.request_bytes = self.request_bytes_left = head.length or 0
        # As Sanic has it: "chunked", True, or None when there is nothing to read.
        self.request_body = "chunked" if head.length is None else bool(head.length) or None  # type: ignore[assignment]
        self.expecting_continue = head.expects_continue and self.request_body is not None
        # Sanic's reader of chunks expects the CRLF in front of each.
        del self.recv_buffer[: len(raw) + (2 if head.length is None else 4)]

    async def _receive_head(self) -> bytes:
        searched = 0
        while (end := find_head_end(self.recv_buffer, searched, self.HEADER_MAX_SIZE)) < 0:
            searched = len(self.recv_buffer)
            await self._receive_more()
        return bytes(self.recv_buffer[:end])

    def _take_request(self, raw: bytes, head: RequestHead) -> None:
        self.url = head.target
        protocol = self.protocol
        request = protocol.request_class(
            url_bytes=head.target.encode("ascii"),
            # It makes its own kind of dictionary of them.
            headers=cast("Header", head.fields),
            head=raw,
            version=head.version,
            # What can be had with GET can be requested with HEAD (RFC 9110, section 9.1).
            method="GET" if self.head_only else head.method,
            transport=cast("TransportProtocol", protocol.transport),
            app=protocol.app,
        )
        protocol.request_class._current.set(request)  # noqa: SLF001 - as Sanic does
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1

    def read(self) -> Coroutine[Any, Any, bytes | None]:
        """Read some bytes of the body; raise Sanic's BadRequest or PayloadTooLarge."""
        # Sanic's types do not know this value.
        body: object = self.request_body
        return self._read_chunked() if body == "chunked" else super().read()

    async def _read_chunked(self) -> bytes | None:
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(HTTP_CONTINUE)
        if self.request_bytes_left == 0:
            await self._check_chunk()
        return await super().read()

    async def _check_chunk(self) -> None:
        try:
            while not check_chunk(self.recv_buffer, self.HEADER_MAX_SIZE):
                await self._receive_more()
        except TooLarge:
            self.keep_alive = False
            raise PayloadTooLarge("Chunk extensions or trailers exceed the size limit") from None
        except ValueError:
            self.keep_alive = False
            self.request_body = None
            self.protocol.is_unreadable = True
            raise BadRequest("Bad chunked encoding") from None


class HttpConnection(HttpProtocol):
    """A connection of Sanic, with what subclasses need to know of its requests, and methods for them to override.

    Attributes:
        is_unreadable: the end of the current request is unknown, so that nothing after it can be read.
    """

    HTTP_CLASS = CheckedHttp
    __slots__ = ("_answered", "is_unreadable")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_unreadable = False
        # Whose answer is the last of the connection; Sanic has forgotten it by then.
        self._answered: Http | None = None

    # --- for subclasses to override

    def before_send(self, size: int) -> None:
        """Hear that so many bytes of an answer are about to be sent."""

    def after_send(self, size: int) -> None:
        """Hear that so many bytes of an answer were handed to the transport."""

    def is_late(self, patience_seconds: float) -> bool:
        """Return whether the request that is arriving has taken too long."""
        raise NotImplementedError

    def timed_out(self) -> None:
        """Hear that the request that is arriving is given up."""

    def finishes(self) -> bool:
        """Hear that nothing more is read or sent; return whether to close now, and not by `close_now` later."""
        return True

    def answer_early(self) -> None:
        """Hear that an answer is about to be sent to a request of which not all is read."""

    # --- for subclasses to use

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun to arrive since the last was answered and read."""
        http = self.http
        return http is None or (http.stage is Stage.IDLE and not _has_unread_body(http) and not self.recv_buffer)

    @property
    def current_request(self) -> Request | None:
        """The request that is being read or answered."""
        return None if self.http is None else cast("Request | None", self.http.request)

    @property
    def can_write(self) -> bool:
        """Whether the client has read nearly all that was sent."""
        return self._can_write.is_set()

    def drop_body_if_here(self) -> bool:
        """Drop the body of the current request if all of it has arrived; return whether it has."""
        http = self.http
        # True with a Content-Length, "chunked" without, whatever Sanic's types say.
        body: object = http.request_body
        left = http.request_bytes_left
        if body is not True or left is None or len(http.recv_buffer) < left:
            return False
        del http.recv_buffer[:left]
        http.request_body = None
        return True

    def end_after_answer(self, most_bytes: int, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Close the connection after the current answer, sent by ``send``, and so many bytes of its request's rest."""
        http = self.http
        http.keep_alive = False
        http.request_max_size = self.request_max_size = most_bytes
        http._send = send  # noqa: SLF001 - the one place that each part of an answer passes
        self._answered = http

    def drop_body(self) -> None:
        """Read no more of the current request."""
        self.http.request_body = None

    @property
    def has_read_rest(self) -> bool:
        """Whether the request of the last answer has been read to its end."""
        return self._answered is not None and self._answered.request_body is None

    def drop_received(self) -> None:
        """Drop what has arrived and is not read, and have more arrive."""
        self.recv_buffer.clear()
        if self.transport is not None:
            self.transport.resume_reading()

    def close_now(self) -> None:
        """Close the connection, whatever `finishes` says."""
        super().close()

    # --- called by Sanic

    async def send(self, data: bytes) -> None:
        """Send a part of an answer."""
        self.before_send(len(data))
        await super().send(data)  # type: ignore[no-untyped-call]
        self.after_send(len(data))

    def check_timeouts(self) -> None:
        """Check now and again whether a request takes too long to arrive; the rest is Sanic's."""
        http = self.http
        is_arriving = http is not None and (http.stage is Stage.REQUEST or _has_unread_body(http))
        if self._task is None or not is_arriving:
            super().check_timeouts()  # type: ignore[no-untyped-call]
        elif self.is_late(self.request_timeout):
            self.timed_out()
            http.exception = RequestTimeout("Request Timeout")
            self._task.cancel()
        else:
            # Not by Sanic, which checks no more once a request says that it is a WebSocket's.
            delay = max(LEAST_CHECK_SECONDS, self.request_timeout / 2)
            self._callback_check_timeouts = self.loop.call_later(delay, self.check_timeouts)

    def close(self, timeout: float | None = None) -> None:
        """Close, unless a subclass has more to do."""
        if self.transport is None or self.transport.is_closing() or self.finishes():
            super().close(timeout)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        if self.conn_info is not None:
            self.conn_info.client_ip = plain_address(self.conn_info.client_ip)


def _has_unread_body(http: Http) -> bool:
    # Before its first request Sanic's object has no such attribute.
    return bool(getattr(http, "request_body", None))


async def start_server(
    app: App, protocol: type[HttpConnection], listener: socket.socket, backlog: int
) -> tuple[AsyncioServer, asyncio.Server]:
    """Prepare the routes, then accept connections; return Sanic's server and the one that listens."""
    server = await app.create_server(
        sock=listener,
        protocol=protocol,
        backlog=backlog,
        # The port opens below, when the routes are ready.
        asyncio_server_kwargs={"start_serving": False},
    )
    if server is None:
        raise RuntimeError("Sanic made no server")
    # Sanic's startup compiles its empty `alt-svc` header out of every answer when it knows of one HTTP version.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    await server.startup()  # type: ignore[no-untyped-call]
    await server.before_start()  # type: ignore[no-untyped-call]
    listening: asyncio.Server = server.server  # type: ignore[assignment] # Sanic starts with None there
    await listening.start_serving()
    await server.after_start()  # type: ignore[no-untyped-call]
    return server, listening


async def finish_requests(server: AsyncioServer, seconds: float) -> None:
    """Let requests that run finish for so long, then end all connections."""
    await server.before_stop()  # type: ignore[no-untyped-call]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while server.connections and loop.time() < deadline:
        for connection in list(server.connections):
            connection.close_if_idle()
        await asyncio.sleep(0.05)
    for connection in list(server.connections):
        connection.abort()
    await server.after_stop()  # type: ignore[no-untyped-call]


def leaves_answer_to_handler(handler: Handler) -> None:
    """Have Sanic await no answer from a handler, which sends it without Sanic."""
    handler.is_websocket = True  # type: ignore[attr-defined]


def connection_of(request: Request) -> HttpConnection | None:
    """Return the connection of a request; None when it is no longer HTTP."""
    protocol = cast("asyncio.Transport", request.transport).get_protocol()
    return protocol if isinstance(protocol, HttpConnection) else None


def is_upgrade(request: Request) -> bool:
    """Return whether a request is for a WebSocket."""
    return isinstance(request.stream, Http) and request.stream.upgrade_websocket


def is_head(request: Request) -> bool:
    """Return whether the method of a request is HEAD, for which handlers see GET."""
    return isinstance(request.stream, Http) and bool(request.stream.head_only)


async def begin_answer(request: Request, media: str, headers: dict[str, str]) -> HTTPResponse:
    """Begin an answer whose parts are sent as they are made; its handler returns nothing."""
    return cast("HTTPResponse", await request.respond(content_type=media, headers=headers))


def close_after(request: Request) -> None:
    """Close the connection of a request after its answer."""
    if isinstance(request.stream, Http):
        request.stream.keep_alive = False


def is_unread(request: Request) -> bool:
    """Return whether the body of a request has not been read to its end."""
    return isinstance(request.stream, Http) and bool(request.stream.request_body)


def release(request: Request) -> tuple[asyncio.Transport, bytes]:
    """Take over the connection of a request from Sanic; returns its transport, and what arrived behind the request."""
    connection = connection_of(request)
    if connection is None or connection.transport is None:
        raise SanicException("the connection is no longer HTTP")
    transport, early = connection.transport, bytes(connection.recv_buffer)
    # Sanic's task for the connection ends with this request; without a transport it closes nothing.
    connection.connections.discard(connection)
    connection.transport = None
    return transport, early
