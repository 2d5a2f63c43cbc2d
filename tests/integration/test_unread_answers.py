"""Clients that ask for large pages and do not read them do not fill a server's memory, nor cut who reads slowly."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from chatserver.messaging.chats import HISTORY_BYTES_MAX
from chatserver.transport.kept import UNREAD_BYTES
from tests.support.devices import Device
from tests.support.devices import sign_in as device

if TYPE_CHECKING:
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

LARGE = "\U0001f44d" * 65_536
FULL_PAGE = HISTORY_BYTES_MAX // len(LARGE.encode())
RECEIVE_BYTES = 4096
ASKED = UNREAD_BYTES // HISTORY_BYTES_MAX + 8


async def with_a_full_page(process: ServerProcess) -> tuple[Device, int]:
    """Return a device and a chat of its user with one full page."""
    one = await device(process)
    async with one.http(process) as http:
        for _ in range(FULL_PAGE):
            sent = await http.post("/api/messages", json={"to": one.phone_number, "text": LARGE})
            assert sent.status_code == 200, sent.text
    return one, sent.json()["chat_id"]


async def ask(process: ServerProcess, of: tuple[Device, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for the page, and read no more than its first line."""
    one, chat_id = of
    # The kernel's own buffers grow beyond a page, if they may.
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    small.settimeout(0)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", urlsplit(process.url).port))
    reader, writer = await asyncio.open_connection(sock=small, limit=4096)
    writer.write(
        f"GET /api/chats/{chat_id}/messages?limit=1000 HTTP/1.1\r\nHost: chat\r\n"
        f"Authorization: Bearer {one.token}\r\n\r\n".encode()
    )
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    return reader, writer


async def is_whole(reader: asyncio.StreamReader) -> bool:
    """Read the rest of an answer; returns whether all of it came."""
    size = 0
    try:
        while (line := await reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
        await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return False
    return size > HISTORY_BYTES_MAX


async def test_answers_that_nobody_reads_are_given_up_and_a_slow_readers_is_not(process: ServerProcess) -> None:
    ana, eve = await with_a_full_page(process), await with_a_full_page(process)
    slow = await ask(process, ana)
    greedy = [await ask(process, eve) for _ in range(ASKED)]
    cut = [not await is_whole(reader) for reader, _ in greedy]
    # The oldest ones.
    assert cut == sorted(cut, reverse=True)
    assert 0 < sum(cut) < ASKED
    assert await is_whole(slow[0])
    for _, writer in (slow, *greedy):
        writer.close()
