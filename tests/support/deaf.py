"""WebSocket clients that read nothing after the handshake, through TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

RECEIVE_BYTES = 4096
"""Of the kernel's buffer; by default it grows to megabytes."""

HANDSHAKE_SECONDS = 30


def _connect(url: str, token: str, tls: ssl.SSLContext) -> ssl.SSLSocket:
    parsed = urlsplit(url)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    plain.settimeout(HANDSHAKE_SECONDS)
    plain.connect((parsed.hostname, parsed.port))
    connected = tls.wrap_socket(plain, server_hostname=parsed.hostname)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    connected.sendall(
        f"GET /api/ws HTTP/1.1\r\nHost: {parsed.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat.v1\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    answer = connected.recv(16)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connected


async def connect(url: str, tokens: Sequence[str], tls: ssl.SSLContext) -> contextlib.ExitStack:
    """Connect one client a token; closing the stack closes them.

    Raises:
        AssertionError: The server refused one.
    """
    with contextlib.ExitStack() as opened:
        for token in tokens:
            opened.enter_context(_closing(await asyncio.to_thread(_connect, url, token, tls)))
        return opened.pop_all()


@contextlib.contextmanager
def _closing(connected: ssl.SSLSocket) -> Iterator[None]:
    try:
        yield
    finally:
        connected.close()
