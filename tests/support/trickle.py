"""Clients that send a little at a time, or nothing, and never end: by the phase of the connection they do it in."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BETWEEN_SECONDS = 0.1
"""Far less than any timeout of inactivity, so that only a deadline can end it."""

PATIENCE_SECONDS = 20
"""Until a connection that is still open counts as one that nobody ends."""


@dataclass(frozen=True)
class Slow:
    """One way to be slow.

    Attributes:
        name: of the phase.
        first: sent at once, after the TLS handshake if there is one.
        rest: what comes then, a byte at a time, for ever; empty: nothing.
        tls: whether there is TLS.
        ends: whether the client says that it sends no more, and keeps reading.
    """

    name: str
    first: bytes = b""
    rest: bytes = b""
    tls: bool = True
    ends: bool = False


@dataclass(frozen=True)
class Ended:
    """How a slow client's connection ended.

    Attributes:
        closed: whether the other side ended it.
        answer: what it sent.
    """

    closed: bool
    answer: bytes


def anybody(alpn: str = "http/1.1") -> ssl.SSLContext:
    """Trust any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


async def send_slowly(slow: Slow, port: int, *, patience_seconds: float = PATIENCE_SECONDS) -> Ended:
    """Connect to a port of this machine, be slow, and return how that ended."""
    alpn = "h2" if slow.first.startswith(b"PRI") else "http/1.1"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=anybody(alpn) if slow.tls else None)
    received = bytearray()

    async def read() -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                received.extend(data)

    reading = asyncio.create_task(read())
    writer.write(slow.first)
    if slow.ends:
        writer.write_eof()
    pieces: Iterator[bytes] = itertools.cycle(bytes([byte]) for byte in slow.rest) if slow.rest else iter(())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    while not reading.done() and loop.time() < deadline:
        if piece := next(pieces, b""):
            writer.write(piece)
        await asyncio.wait({reading}, timeout=BETWEEN_SECONDS)
    closed = reading.done()
    reading.cancel()
    writer.transport.abort()
    return Ended(closed, bytes(received))


async def all_end(slows: list[Slow], port: int, *, plain_port: int | None = None) -> dict[str, bytes]:
    """Be slow in many ways at once, and return each one's answer.

    Args:
        slows: the ways.
        port: of those with TLS, or of all.
        plain_port: of those without; None: the same.

    Raises:
        AssertionError: nobody ended some of them.
    """
    ports = [port if slow.tls or plain_port is None else plain_port for slow in slows]
    ended = await asyncio.gather(*(send_slowly(slow, to) for slow, to in zip(slows, ports, strict=True)))
    by_name = {slow.name: how for slow, how in zip(slows, ended, strict=True)}
    still_open = [name for name, how in by_name.items() if not how.closed]
    assert not still_open, f"nobody ends: {still_open}"
    return {name: how.answer for name, how in by_name.items()}
