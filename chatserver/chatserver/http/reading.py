"""Reads requests in the place of Sanic's own reader, which takes what RFC 9112 has a server refuse.

All that is checked about a request before it is routed is checked here, so that handlers, the router and the URL parser
only ever see what they can work with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sanic.exceptions import BadRequest as SanicBadRequest
from sanic.exceptions import PayloadTooLarge
from sanic.http import Http
from sanic.http.http1 import HTTP_CONTINUE

from chatserver.errors import BadRequest, TooLarge
from chatserver.http.request_head import are_fields, is_cut_short, read_chunk, read_head

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sanic.compat import Header
    from sanic.models.protocol_types import TransportProtocol

    from chatserver.http.lingering import LingeringHttpProtocol
    from chatserver.http.request_head import RequestHead

_END = b"\r\n\r\n"
_CRLF = b"\r\n"
MOST_CHUNK_LINE_BYTES = 1024
"""Of the line before a chunk, with its extensions, which nobody uses."""


class CheckedHttp(Http):
    """The requests of one connection."""

    protocol: LingeringHttpProtocol

    async def http1_request_header(self) -> None:
        """Receive and check a request's head.

        Raises:
            BadRequest: it is malformed.
            TooLarge: it is larger than may be.
        """
        self.protocol.is_unreadable = True
        raw = await self._receive_head()
        # Known before the rest, since no answer to HEAD has a body, a refusal neither.
        self.head_only = raw.startswith(b"HEAD ")
        head = read_head(raw)
        self.protocol.is_unreadable = False
        self.keep_alive = head.keep_alive
        self.upgrade_websocket = head.upgrades
        self._take_request(raw, head)
        self._prepare_body(head)
        # Sanic's reader of chunks wants the CRLF in front of each.
        del self.recv_buffer[: len(raw) + (2 if head.length is None else 4)]

    def _take_request(self, raw: bytes, head: RequestHead) -> None:
        self.url = head.target
        protocol = self.protocol
        request = protocol.request_class(
            url_bytes=head.target.encode("ascii"),
            # It makes its own kind of dictionary of them.
            headers=cast("Header", head.fields),
            head=raw,
            version=head.version,
            # What can be had with GET can be asked for with HEAD (RFC 9110, section 9.1).
            method="GET" if self.head_only else head.method,
            transport=cast("TransportProtocol", protocol.transport),
            app=protocol.app,
        )
        protocol.request_class._current.set(request)  # noqa: SLF001 - as Sanic does
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1

    def _prepare_body(self, head: RequestHead) -> None:
        self.request_bytes = self.request_bytes_left = head.length or 0
        # As Sanic has it: "chunked", True, or None when there is nothing to read.
        self.request_body = "chunked" if head.length is None else bool(head.length) or None  # type: ignore[assignment]
        self.expecting_continue = head.expects_continue and self.request_body is not None

    async def _receive_head(self) -> bytes:
        """Wait for the whole head; an empty line before it does not count (RFC 9112, section 2.2)."""
        buf = self.recv_buffer
        searched = 0
        while True:
            while buf.startswith(_CRLF):
                del buf[:2]
            end = buf.find(_END, max(0, searched - 3))
            searched = len(buf)
            if (searched if end < 0 else end) >= self.HEADER_MAX_SIZE:
                raise TooLarge
            if end >= 0:
                return bytes(buf[:end])
            if is_cut_short(buf):
                raise BadRequest("A line ends with LF alone; each ends with CRLF.")
            await self._receive_more()

    def read(self) -> Coroutine[Any, Any, bytes | None]:
        """Read some bytes of the body.

        Raises:
            BadRequest: Sanic's, where it is no body.
            PayloadTooLarge: it is larger than may be.
        """
        # The types of Sanic know of no such value.
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
        """Leave nothing of what comes before a chunk's bytes but their number, and nothing of trailers."""
        buf = self.recv_buffer
        line_end = await self._find(_CRLF, 2, MOST_CHUNK_LINE_BYTES)
        try:
            size = read_chunk(buf[: line_end + 2])
        except ValueError:
            raise self._no_chunks() from None
        if size == 0:
            end = await self._find(_END, line_end, line_end + self.HEADER_MAX_SIZE)
            if not are_fields(buf[line_end:end]):
                raise self._no_chunks()
            # They say nothing that anybody here wants to know, and may be dropped (RFC 9110, section 6.5.1).
            del buf[line_end:end]
        buf[:line_end] = b"\r\n%x" % size

    async def _find(self, end: bytes, start: int, most_bytes: int) -> int:
        buf: bytearray = self.recv_buffer
        while True:
            found = buf.find(end, start)
            if (len(buf) if found < 0 else found) > most_bytes:
                self.keep_alive = False
                raise PayloadTooLarge("Chunk extensions or trailers exceed the size limit")
            if found >= 0:
                return found
            await self._receive_more()

    def _no_chunks(self) -> SanicBadRequest:
        self.keep_alive = False
        self.request_body = None
        self.protocol.is_unreadable = True
        return SanicBadRequest("Bad chunked encoding")
