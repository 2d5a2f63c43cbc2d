"""HTTP/1.1 on a bare transport: one request at a time per connection, the others wait in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from bench.wires import HANDSHAKE_SECONDS, source_address, websocket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from bench.orders import Person
    from bench.wires import Account, Connection


OK = 200


def parse(buffer: bytes) -> tuple[int, bytes, int] | None:
    r"""Return status, body and length of the answer at the beginning of a buffer; None while it is incomplete.

    Example:
        >>> parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP")
        (200, b'{}', 40)
    """
    head, separator, rest = buffer.partition(b"\r\n\r\n")
    if not separator:
        return None
    status = int(head[9:12])
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    start = len(head) + len(separator)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        return _parse_chunks(status, buffer, start)
    length = int(fields.get(b"content-length", b"0"))
    return (status, rest[:length], start + length) if len(rest) >= length else None


def _parse_chunks(status: int, buffer: bytes, start: int) -> tuple[int, bytes, int] | None:
    body: list[bytes] = []
    while (end := buffer.find(b"\r\n", start)) >= 0:
        size = int(buffer[start:end].split(b";")[0], 16)
        after = end + 2 + size + 2
        if len(buffer) < after:
            return None
        if size == 0:
            return status, b"".join(body), after
        body.append(buffer[end + 2 : end + 2 + size])
        start = after
    return None


class HttpConnection(asyncio.Protocol):
    """A connection that stays open."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._waiting: deque[tuple[bytes, Callable[[int, bytes], None]]] = deque()
        self._answered: Callable[[int, bytes], None] | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment] # asyncio's own type of a TCP transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Report it, unless this side closed the connection."""
        self._transport = None
        if not self._closing:
            self._failed(exc or ConnectionResetError("the server has closed a connection of the generator"))

    def data_received(self, data: bytes) -> None:
        """Process answers once they are complete."""
        self._buffer += data
        while (answer := parse(self._buffer)) is not None:
            status, body, length = answer
            self._buffer = self._buffer[length:]
            answered, self._answered = self._answered, None
            if answered is None:
                raise ConnectionError("an answer without a request")
            self._next()
            answered(status, body)

    def request(self, head_and_body: bytes, answered: Callable[[int, bytes], None]) -> None:
        """Send a request after the answers to earlier ones."""
        self._waiting.append((head_and_body, answered))
        if self._answered is None:
            self._next()

    def _next(self) -> None:
        if not self._waiting:
            return
        if self._transport is None:
            raise ConnectionResetError("the server has closed a connection of the generator")
        data, self._answered = self._waiting.popleft()
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()


async def open_connection(account: Account, url: str) -> HttpConnection:
    """Connect to the host of a URL."""
    parts = urlsplit(url)
    tls: ssl.SSLContext | None = account.tls if parts.scheme == "https" else None
    _, protocol = await asyncio.wait_for(
        asyncio.get_running_loop().create_connection(
            lambda: HttpConnection(account.failed),
            parts.hostname or "",
            parts.port or 0,
            ssl=tls,
            local_addr=source_address(account.order.process, parts.hostname or ""),
        ),
        HANDSHAKE_SECONDS,
    )
    return protocol


def encode_request(method: str, path: str, url: str, token: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request with a bearer token."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def reporter(account: Account, sender: Connection, due_us: int) -> Callable[[int, bytes], None]:
    """Return the callback that reports the answer to a send, which was due then, to the account."""

    def answered(status: int, _: bytes) -> None:
        if status == OK:
            account.acked(sender, due_us)
        else:
            account.refused(sender)

    return answered


class RestSender:
    """A device that sends by our REST API."""

    def __init__(self, account: Account, person: Person, url: str, http: HttpConnection) -> None:
        self._account = account
        self._http = http
        self._text = msgspec.json.encode(account.order.text)
        self._chat_id = person.target.encode()
        self._url, self._token = url, person.token

    def send(self, key: bytes, due_us: int) -> None:
        """Post a message."""
        body = b'{"chat_id":%s,"client_id":"%s","text":%s}' % (self._chat_id, key, self._text)
        self._http.request(
            encode_request("POST", "/api/messages", self._url, self._token, body), reporter(self._account, self, due_us)
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


async def connect(account: Account, person: Person, url: str) -> Connection:
    """Open a connection that sends by REST, or a WebSocket for a user who only receives."""
    if not person.target:
        return await websocket.connect(account, person, "ws" + url.removeprefix("http"))
    return RestSender(account, person, url, await open_connection(account, url))
