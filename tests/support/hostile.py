"""Servers that answer with anything, in place of a chat's own parts: endless, huge, deep, slow, garbage, wrong."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gzip
import itertools
import json
import ssl
from typing import TYPE_CHECKING, Self

from chatoperator.parts.ingress.tls.self_signed import ensure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

CHUNK = b"x" * 65536
TRICKLE_SECONDS = 0.02
ROUNDS = 10

ENDLESS_BYTES = 64 * 1024 * 1024
"""Whoever takes so many takes all."""

OK = b"HTTP/1.1 200 OK\r\n"
MIB = 1024 * 1024

COUNTED = "chatserver_connections 42\nchatserver_draining 0\n"
"""A metrics page that is right."""

REPORT = '{"credentials": "a", "configuration": "b", "refused": null}'
"""An agent's answer that is right."""


def whole(body: bytes | str, *headers: str, status: str = "200 OK") -> bytes:
    """An answer with its length."""
    content = body.encode() if isinstance(body, str) else body
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", "")
    return "\r\n".join(lines).encode() + content


def forever(first: bytes, rest: bytes = CHUNK) -> Callable[[], Iterator[bytes]]:
    """Something, and then the same without end."""
    return lambda: itertools.chain([first], itertools.repeat(rest))


def once(*parts: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter(parts)


def _chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


PAGE = whole(COUNTED + REPORT)

TRANSPORTS: dict[str, Callable[[], Iterable[bytes]]] = {
    "nothing": once(),
    "no HTTP": forever(b"\x16\x03\x01\x02\x00"),
    "an endless status line": forever(b"HTTP/1.1 200 "),
    "an endless header": forever(OK + b"X: "),
    "endless headers": forever(OK, b"X-Some: header\r\n" * 4096),
    "many headers": once(OK + b"X-Some: header\r\n" * 100_000 + b"Content-Length: 0\r\n\r\n"),
    "many cookies": once(OK + b"Set-Cookie: a=b\r\n" * 100_000 + b"Content-Length: 0\r\n\r\n"),
    "endless interim answers": forever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2048),
    "an endless body": forever(OK + b"\r\n"),
    "an endless body of lines that count": forever(OK + b"\r\n", b"chatserver_connections 1\n" * 2048),
    "an endless line that counts": forever(OK + b"\r\nchatserver_connections{a="),
    "endless chunks": forever(OK + b"Transfer-Encoding: chunked\r\n\r\n", _chunked(CHUNK)),
    "endless chunks of a byte": forever(OK + b"Transfer-Encoding: chunked\r\n\r\n", _chunked(b"x") * 4096),
    "an endless chunk's extension": forever(OK + b"Transfer-Encoding: chunked\r\n\r\n1;"),
    "endless trailers": forever(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Some: trailer\r\n" * 4096),
    "a body that does not come": once(OK + b"Content-Length: 99999999999999\r\n\r\n"),
    "a negative length": once(OK + b"Content-Length: -1\r\n\r\n" + COUNTED.encode()),
    "a length of many digits": once(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + COUNTED.encode()),
    "a packed bomb": forever(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(64 * MIB))),
    "a redirect to itself": once(whole("", "Location: /metrics", status="302 Found")),
    "a redirect elsewhere": once(whole("", "Location: http://127.0.0.1:1/", status="301 Moved Permanently")),
    "another protocol": forever(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
    "an error with an endless body": forever(b"HTTP/1.1 500 Oh\r\n\r\n"),
    "a status of letters": once(b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
    "HTTP/9": once(PAGE.replace(b"HTTP/1.1", b"HTTP/9.9")),
}
"""Answers that no part gives, whatever it is asked."""

BODIES: dict[str, str | bytes] = {
    "nothing": "",
    "no text": b"\xff\xfe\x00" * 1000,
    "a page of the web": "<html>" * 1000,
    "deep JSON": "[" * 30_000,
    "deeper JSON": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "wide JSON": json.dumps({str(number): [] for number in range(2_000)}),
    "another type": "[]",
    "a number": "7",
    "a number of many digits": "9" * 5_000,
    "wrong types": '{"credentials": 1, "configuration": [], "refused": {}, "writes": {"a": []}}',
    "not a number": '{"credentials": NaN, "configuration": Infinity, "refused": -Infinity}',
    "connections of letters": "chatserver_connections many\nchatserver_draining 0\n",
    "connections that are no number": "chatserver_connections NaN\nchatserver_draining 0\n",
    "endless connections": "chatserver_connections +Inf\nchatserver_draining 0\n",
    "too many connections": "chatserver_connections 1e308\nchatserver_draining 0\n",
    "connections of many digits": f"chatserver_connections {'9' * 5_000}\nchatserver_draining 0\n",
    "negative connections": "chatserver_connections -1\nchatserver_draining 0\n",
    "many lines that count": "chatserver_connections 1\n" * 100,
    "labels without end": "chatserver_connections{" + "a=1," * 1_900 + "\nchatserver_draining 0\n",
    "quotes without end": "chatserver_connections{a=" + '\\"' * 3_000 + "\nchatserver_draining 0\n",
    "half of it": "chatserver_connections 42\n",
}
"""Bodies of good answers that say nothing of what a part should."""


def server_tls(folder: Path) -> ssl.SSLContext:
    """TLS of a server named localhost, whose files go to a folder."""
    made = ensure(None, None, ("localhost",), dt.datetime.now(dt.UTC))
    (folder / "crt").write_text(made.server.certificate)
    (folder / "key").write_text(made.server.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context


class Hostile:
    """Answers each connection alike, once a request has come.

    Args:
        answer: Makes the parts of the answer.
        host: Address to listen at; every one that begins with 127 is this machine's.
        port: There; 0 for any.
        tls: To be spoken; None for none.
        slowly: A byte at a time.

    Attributes:
        sent: Bytes that the system has taken of the largest answer.
        requests: Requests so far.
    """

    def __init__(
        self,
        answer: Callable[[], Iterable[bytes]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        slowly: bool = False,
    ) -> None:
        self._answer, self._tls, self._slowly = answer, tls, slowly
        self.host, self.port = host, port
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = True
        self.sent = 0
        self.requests: list[bytes] = []

    @property
    def asked(self) -> int:
        """How many requests there were."""
        return len(self.requests)

    async def __aenter__(self) -> Self:
        # TLS begins in the task, which then knows of each connection there is.
        self._server = await asyncio.start_server(self._begin, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # What was accepted last begins, and what is aborted ends, in the loop's next rounds.
        for _round in range(ROUNDS):
            await asyncio.sleep(0)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        try:
            if self._tls is not None:
                await writer.start_tls(self._tls)
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            async for part in self._parts():
                writer.write(part)
                await writer.drain()
                # A drain that has nothing to wait for gives no other task its turn.
                await asyncio.sleep(0)
                sent += len(part)
                self.sent = max(self.sent, sent)
                if writer.is_closing() or sent > ENDLESS_BYTES:
                    break
            # Whoever wants more waits for it.
            await reader.read()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            with contextlib.suppress(OSError):
                writer.transport.abort()

    async def _parts(self) -> AsyncIterator[bytes]:
        for part in self._answer():
            if not self._slowly:
                yield part
                continue
            for byte in part:
                yield bytes([byte])
                await asyncio.sleep(TRICKLE_SECONDS)
