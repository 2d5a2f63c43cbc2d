"""RFC 6455 at our WebSockets with an owner that echoes: the cases of the Autobahn test suite, and floods of frames."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

import pytest

from chatserver.protocol import CLOSE_PACE, MAX_FRAMES_AT_ONCE
from chatserver.socket.session import SocketSession, State
from chatserver.transport.upkeep import Sockets
from chatserver.transport.websocket import Socket, make_protocol
from tests.support.autobahn import CASES, OK, Case, close, fragments
from tests.support.wsframes import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatserver.closing import End

WAIT_SECONDS = 30
HANDSHAKE = (
    b"GET /api/ws HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Echo:
    """Sends back what it gets, and counts as a connection of the chat does."""

    user_id = 1

    def __init__(self) -> None:
        self.is_over = asyncio.Event()
        self.messages = 0
        self.end: End | None = None
        self._session = SocketSession()
        self._socket: Socket | None = None

    def opened(self, socket: Socket) -> None:
        self._socket = socket

    def receive(self, data: str | bytes) -> None:
        assert self._socket is not None
        self.messages += 1
        transport = self._socket._transport
        assert transport is not None
        transport.send(TEXT if isinstance(data, str) else BINARY, data)  # type: ignore[arg-type] # an int at run time

    def counts(self) -> bool:
        for action in self._session.count(0.0):
            assert self._socket is not None
            self._socket.close(action.code, action.reason)  # type: ignore[union-attr] # it is a Close
        return self._session.state is State.OPEN

    def flush(self) -> None: ...

    def stuck(self) -> None: ...

    def ended(self, end: End, code: int) -> None:  # noqa: ARG002 - as of Owner
        self.end = end
        self.is_over.set()


class Client:
    """The other side, which writes any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def write(self, part: bytes) -> None:
        """Write bytes, and let the server read them by themselves."""
        self.writer.write(part)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()
        await asyncio.sleep(0)

    async def read(self) -> tuple[int, bytes]:
        """Return the next frame."""
        first, size = await self._reader.readexactly(2)
        assert first & 0x70 == 0, "no extension was agreed on"
        assert not size & 0x80, "a server masks nothing"
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        assert first & FIN, "what is echoed is not split"
        return first & 0x0F, await self._reader.readexactly(size)

    async def frames(self) -> list[tuple[int, bytes]]:
        """Return what comes until the close frame, and that one."""
        frames: list[tuple[int, bytes]] = []
        while not frames or frames[-1][0] != CLOSE:
            frames.append(await self.read())
        return frames

    async def is_closed(self) -> bool:
        """Return whether the connection ends, with nothing behind the close frame."""
        with contextlib.suppress(ConnectionError):
            return await self._reader.read() == b""
        return True


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[Client, Echo]]:
    owner = Echo()
    server = await asyncio.get_running_loop().create_server(
        lambda: make_protocol(Socket(owner, Sockets()), {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    server.close()
    writer.write(HANDSHAKE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            yield Client(reader, writer), owner
    finally:
        writer.transport.abort()
        if owner._socket is not None:
            # As the upkeep would in a while: of whoever sends too much nothing is read, not even the end.
            owner._socket.cut()
        await asyncio.wait_for(owner.is_over.wait(), WAIT_SECONDS)


async def exchange(client: Client, case: Case) -> list[tuple[int, bytes]]:
    """Write a case's parts while what comes back is read."""
    reading = asyncio.create_task(client.frames())
    for part in case.writes:
        await client.write(part)
    return await reading


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_case_of_the_autobahn_suite(case: Case) -> None:
    async with connected() as (client, _):
        *frames, (_, payload) = await exchange(client, case)
        (code,) = struct.unpack("!H", payload[:2])
        assert code == case.code
        if code == OK:
            assert tuple(frames) == case.frames
        else:
            # What came right before the mistake may be lost with the connection.
            assert tuple(frames) == case.frames[: len(frames)]
            await client.write(close(code))
        assert await client.is_closed()


FLOODS = {
    "empty pings": frame(PING),
    "empty pongs": frame(PONG),
    "full pings": frame(PING, b"x" * 125),
    "empty continuations": frame(CONTINUATION, flags=0),
    "continuations of a byte": frame(CONTINUATION, b"x", flags=0),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_every_frame_counts_whether_it_brings_a_message_or_not(flood: bytes) -> None:
    async with connected() as (client, owner):
        first = fragments(TEXT, b"a", b"")[0] if flood[0] == CONTINUATION else b""
        reading = asyncio.create_task(client.frames())
        client.writer.write(first + flood * 200_000)
        *pongs, (_, payload) = await reading
        assert struct.unpack("!H", payload[:2]) == (CLOSE_PACE,)
        assert len(pongs) == (MAX_FRAMES_AT_ONCE if flood[0] & 0x0F == PING else 0)
        assert owner.messages == 0


async def test_as_many_frames_as_may_come_do_no_harm() -> None:
    async with connected() as (client, owner):
        reading = asyncio.create_task(client.frames())
        await client.write(frame(PONG) * (MAX_FRAMES_AT_ONCE - 1) + frame(PING, b"last") + frame(TEXT, b"x") + close())
        assert (await reading)[:2] == [(PONG, b"last"), (TEXT, b"x")]
        assert owner.messages == 1


async def test_of_the_pings_of_a_client_that_does_not_read_the_newest_is_answered() -> None:
    async with connected() as (client, owner):
        socket = owner._socket
        assert socket is not None
        socket.pause_writing()
        await client.write(frame(PING, b"1") + frame(PING, b"2"))
        await client.write(frame(TEXT, b"x"))
        assert await client.read() == (TEXT, b"x")
        socket.resume_writing()
        assert await client.read() == (PONG, b"2")
