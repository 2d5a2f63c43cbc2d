"""Connections to a chat's parts, each for one answer, of which so many bytes are received at most."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from aiohttp import AddrInfoType

CONNECTION_BYTES_MAX = 2 * 1024 * 1024
"""Received on one connection: twice the largest page, so that TLS, heads and the sizes of chunks fit too. What a parser
skips, such as interim answers, counts here and nowhere else; without it only time would bound it."""


def session() -> aiohttp.ClientSession:
    """An HTTP session for a prober: it keeps no connection and no cookie, and follows no redirect."""
    # Each caller limits its own requests: in one queue for all, chats that hang would delay the others.
    connector = aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=_bounded)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)


class BoundedSocket(socket.socket):
    """A socket that fails once it has received too much: asyncio receives with these two calls, TLS with the second."""

    _left = CONNECTION_BYTES_MAX

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As of the base class.

        Raises:
            OSError: Too much was received before.
        """
        received = super().recv(min(bufsize, self._room()), flags)
        self._left -= len(received)
        return received

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0, /) -> int:
        """As of the base class.

        Raises:
            OSError: Too much was received before.
        """
        received = super().recv_into(buffer, min(nbytes or memoryview(buffer).nbytes, self._room()), flags)
        self._left -= received
        return received

    def _room(self) -> int:
        if self._left <= 0:
            raise OSError(errno.EMSGSIZE, f"the answer has more than {CONNECTION_BYTES_MAX} bytes")
        return self._left


def _bounded(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    return BoundedSocket(family=family, type=kind, proto=protocol)
