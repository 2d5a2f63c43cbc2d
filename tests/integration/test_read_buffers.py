"""What is read of a WebSocket at a time, and what is kept for large frames, is bounded: of one and of all together."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import os
import struct
from typing import TYPE_CHECKING

import pytest

from chatserver.protocol import CLOSE_PACE, MAX_FRAME_BYTES
from chatserver.transport.kept import READ_BUFFER_BYTES
from chatserver.transport.upkeep import Sockets
from chatserver.transport.websocket import Socket, make_protocol
from tests.support.cluster import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chatserver.closing import End

pytestmark = pytest.mark.integration

GREEDY = READ_BUFFER_BYTES // MAX_FRAME_BYTES + 4


class Owner:
    """Counts the messages that it gets."""

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self.sizes: list[int] = []
        self.is_over = False

    def opened(self, socket: Socket) -> None: ...

    def counts(self) -> bool:
        return True

    def receive(self, data: str | bytes) -> None:
        self.sizes.append(len(data))

    def flush(self) -> None: ...

    def stuck(self) -> None: ...

    def ended(self, end: End, code: int) -> None:  # noqa: ARG002 - as of Owner
        self.is_over = True


class Client:
    """The other side of a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def hang_up(self) -> None:
        self._writer.close()

    async def close_code(self) -> int:
        """Return the code of the close frame, which is the first frame that comes."""
        head = await asyncio.wait_for(self._reader.readexactly(4), 20)
        assert head[0] == 0x88
        return int.from_bytes(head[2:], "big")


@contextlib.asynccontextmanager
async def connected(owner: Owner, sockets: Sockets) -> AsyncIterator[Client]:
    server = await asyncio.get_running_loop().create_server(
        lambda: make_protocol(Socket(owner, sockets), {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    server.close()
    client = Client(reader, writer)
    key = base64.b64encode(os.urandom(16)).decode()
    await client.send(
        "GET /api/ws HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    yield client
    writer.close()


def frame(size: int) -> bytes:
    """Return a text frame with a mask of zeros."""
    head = struct.pack("!BB4x", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBQ4x", 0x81, 0xFF, size)
    return head + b"x" * size


async def is_true(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, "it has been read", 20, poll_seconds=0.01)


async def test_the_buffer_of_a_large_frame_is_counted_until_its_socket_ends() -> None:
    sockets, owner = Sockets(), Owner(1)
    async with connected(owner, sockets) as client:
        await client.send(frame(100) * 100)
        await is_true(lambda: len(owner.sizes) == 100)
        assert sockets.kept.total == 0
        await client.send(frame(MAX_FRAME_BYTES))
        await is_true(lambda: owner.sizes[-1] == MAX_FRAME_BYTES)
        assert MAX_FRAME_BYTES < sockets.kept.total < 1.3 * MAX_FRAME_BYTES
        client.hang_up()
        await is_true(lambda: owner.is_over)
        assert sockets.kept.total == 0


async def test_small_frames_that_come_at_once_grow_no_buffer() -> None:
    sockets, owner = Sockets(), Owner(1)
    async with connected(owner, sockets) as client:
        await client.send(frame(10) * 100_000)
        await is_true(lambda: len(owner.sizes) == 100_000)
        assert sockets.kept.total == 0


async def test_who_sends_too_many_large_frames_loses_the_oldest_sockets_and_nobody_else_one() -> None:
    sockets, patient = Sockets(), Owner(1)
    async with contextlib.AsyncExitStack() as stack:
        other = await stack.enter_async_context(connected(patient, sockets))
        await other.send(frame(MAX_FRAME_BYTES))
        await is_true(lambda: len(patient.sizes) == 1)
        greedy = []
        for _ in range(GREEDY):
            owner = Owner(2)
            greedy.append(await stack.enter_async_context(connected(owner, sockets)))
            await greedy[-1].send(frame(MAX_FRAME_BYTES))
            await is_true(functools.partial(bool, owner.sizes))
            assert sockets.kept.total <= READ_BUFFER_BYTES
        for client in greedy[:4]:
            assert await client.close_code() == CLOSE_PACE
        await other.send(frame(10))
        await is_true(lambda: len(patient.sizes) == 2)
