"""A crowd's handshakes at a real server: each is answered in its turn, and nobody who has gone is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.devices import sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support.devices import Device

pytestmark = pytest.mark.integration

CROWD = 200
"""Far more than have a place."""

SECONDS = 60


@pytest.fixture
def server(read_dsn: Callable[[], str]) -> Iterator[ServerProcess]:
    with ServerProcess(read_dsn(), "crowded") as one:
        one.wait_ready()
        yield one


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def crowd(server: ServerProcess, device: Device) -> AsyncIterator[list[Stream]]:
    """Many connections whose handshakes the server finds all at once when it goes on."""
    port = httpx.URL(server.url).port
    server.signal(signal.SIGSTOP)
    streams = []
    try:
        for _ in range(CROWD):
            streams.append(stream := await asyncio.open_connection("127.0.0.1", port))
            stream[1].write(device.handshake(server))
        yield streams
    finally:
        server.signal(signal.SIGCONT)
        for _, writer in streams:
            writer.close()


async def status(stream: Stream) -> int:
    async with asyncio.timeout(SECONDS):
        return int((await stream[0].readuntil(b"\r\n\r\n")).split()[1])


def let_in(server: ServerProcess) -> float:
    return server.metric("chatserver_handshake_wait_seconds_count")


async def test_each_of_a_crowd_is_answered_with_what_it_sent_meanwhile(server: ServerProcess) -> None:
    ana = await sign_in(server, "ana")
    async with crowd(server, ana) as streams:
        # A masked ping with the payload "?", behind the handshake and before that is read.
        streams[-1][1].write(b"\x89\x81\0\0\0\0?")
        server.signal(signal.SIGCONT)
        assert [await status(stream) for stream in streams] == [101] * CROWD
        async with asyncio.timeout(SECONDS):
            assert b"\x8a\x01?" in await streams[-1][0].readuntil(b"\x8a\x01?")
    assert let_in(server) == CROWD
    assert server.metric("chatserver_handshake_wait_seconds_sum") > 0, "nobody waited: there was no crowd"


async def test_those_who_give_up_while_they_wait_take_nobodys_turn(server: ServerProcess) -> None:
    ana = await sign_in(server, "ana")
    async with crowd(server, ana) as streams:
        for _, writer in streams[::2]:
            writer.close()
        server.signal(signal.SIGCONT)
        assert [await status(stream) for stream in streams[1::2]] == [101] * (CROWD // 2)
    async with ana.socket(server):
        pass


async def test_a_connection_that_was_used_before_waits_like_a_new_one(server: ServerProcess) -> None:
    ana = await sign_in(server, "ana")
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
        for _ in range(2):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: chat\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.write(ana.handshake(server))
        assert await status((reader, writer)) == 101
        writer.close()
    assert let_in(server) == 1
