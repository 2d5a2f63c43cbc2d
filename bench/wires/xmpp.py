"""XMPP over TCP: SASL PLAIN, bind, stream management, and one stanza per message with a request for its ack.

A server answers `<r/>` (XEP-0198) after it has handled the stanzas before it, in their order; what that says about the
archive is the peer's to say, in `bench.peers`.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from bench.schedule import KEY, due_us
from bench.wires import HANDSHAKE_SECONDS, source_address

if TYPE_CHECKING:
    from bench.orders import Person
    from bench.wires import Account

DOMAIN = "localhost"
PASSWORD = "bench"  # noqa: S105 - of accounts that live as long as the run

_OPEN = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
).encode()
_BIND = (
    b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>"
)
_ENABLE = b"<enable xmlns='urn:xmpp:sm:3'/>"
_REQUEST = b"<r xmlns='urn:xmpp:sm:3'/>"

_TAG = re.compile(rb"<(message|presence|iq|a|r|success|failure|enabled|failed|stream:error|/stream:features)\b[^>]*>")
_HANDLED = re.compile(rb"\bh=['\"](\d+)['\"]")
_STANZAS = frozenset({b"message", b"presence", b"iq"})


class Tag(NamedTuple):
    """An opening tag: its name, and its text."""

    name: bytes
    text: bytes


def tags(buffer: bytes) -> tuple[list[Tag], bytes]:
    """Return the tags of a piece of a stream, and the rest for the next piece.

    Texts hold no `<`, so a tag is whole when its `>` is there.

    Example:
        >>> tags(b"<message id='1'><body>a &lt; b</body></message><r xm")
        ([Tag(name=b'message', text=b"<message id='1'>")], b'<r xm')
    """
    cut = buffer.rfind(b"<")
    if cut < 0 or buffer.find(b">", cut) >= 0:
        cut = len(buffer)
    return [Tag(found[1], found[0]) for found in _TAG.finditer(buffer, 0, cut)], buffer[cut:]


class Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, account: Account, person: Person) -> None:
        self._account = account
        self._person = person
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._steps = iter(self._signing_in())
        self._step: tuple[bytes, bytes] | None = next(self._steps)
        self._on_the_way: deque[int] = deque()
        self._received = 0
        # The server counts from `enable` on: presence is the first, and no message.
        self._handled = 0
        self._closing = False
        self._head = f"<message to='{person.target}' type='chat' id='".encode()
        self._tail = f"'><body>{escape(account.order.text)}</body></message>".encode() + _REQUEST
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _signing_in(self) -> list[tuple[bytes, bytes]]:
        """The steps of the sign-in: what the server must send, and the reply."""
        secret = base64.b64encode(f"\0{self._person.token}\0{PASSWORD}".encode())
        auth = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>" % secret
        return [
            (b"/stream:features", auth),
            (b"success", _OPEN),
            (b"/stream:features", _BIND),
            (b"iq", _ENABLE),
            (b"enabled", b"<presence/>" + _REQUEST),
        ]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the stream."""
        self._transport = transport  # type: ignore[assignment] # asyncio's own type of a TCP transport
        self._write(_OPEN)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report it, unless this side closed the connection."""
        self._transport = None
        self._fail(exc or ConnectionResetError("the server has closed a connection of the generator"))

    def data_received(self, data: bytes) -> None:
        """Sign in, then count acknowledgements and messages."""
        found, self._rest = tags(self._rest + data)
        for tag in found:
            if tag.name in {b"failure", b"failed", b"stream:error"}:
                self._fail(ConnectionRefusedError(tag.text.decode(errors="replace")))
            elif self._step is not None:
                self._sign_in(tag)
            else:
                self._take(tag)

    def _sign_in(self, tag: Tag) -> None:
        awaited, answer = self._step or (b"", b"")
        if tag.name != awaited:
            return
        self._step = next(self._steps, None)
        self._write(answer)

    def _take(self, tag: Tag) -> None:
        if tag.name == b"r":
            self._write(b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % self._received)
        elif tag.name == b"a":
            self._acknowledge(tag)
        elif tag.name in _STANZAS:
            self._received += 1
            key = KEY.search(tag.text)
            if tag.name == b"message" and b"type='error'" in tag.text:
                self._account.refused(self)
            elif tag.name == b"message" and key is not None:
                self._account.delivered(due_us(tag.text, key.start()))

    def _acknowledge(self, tag: Tag) -> None:
        handled = _HANDLED.search(tag.text)
        if handled is None:
            self._fail(ConnectionError(f"not an acknowledgement: {tag.text!r}"))
            return
        count = int(handled[1])
        if not self.ready.done():
            self.ready.set_result(None)
            self._handled = count
        while self._handled < count:
            self._handled += 1
            self._account.acked(self, self._on_the_way.popleft())

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            raise ConnectionResetError("the server has closed a connection of the generator")
        self._transport.write(data)

    def _fail(self, error: BaseException) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
        elif not self._closing:
            self._account.failed(error)

    def send(self, key: bytes, due_us: int) -> None:
        """Send a message with a request for its acknowledgement."""
        self._on_the_way.append(due_us)
        self._write(self._head + key + self._tail)

    def close(self) -> None:
        """Close the connection."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()


async def connect(account: Account, person: Person, url: str) -> Stream:
    """Open a stream for an account and return when it is available."""
    parts = urlsplit(url)
    _, stream = await asyncio.wait_for(
        asyncio.get_running_loop().create_connection(
            lambda: Stream(account, person),
            parts.hostname or "",
            parts.port or 0,
            local_addr=source_address(account.order.process, parts.hostname or ""),
        ),
        HANDSHAKE_SECONDS,
    )
    await asyncio.wait_for(stream.ready, HANDSHAKE_SECONDS)
    return stream
