"""The relay's connections, in one namespace: bytes, half-closes, refusals, slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from localcluster.relay import Entry, Forward

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """A server that answers with everything it got once its client has sent all."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def relay_to(port: int) -> asyncio.Server:
    forward = Forward(0, "127.0.0.1", port)
    return await asyncio.get_running_loop().create_server(lambda: Entry(forward), "127.0.0.1", 0)


def test_a_forward_is_read_from_the_command_line() -> None:
    assert Forward.parse("8443=172.18.0.2:30443") == Forward(8443, "172.18.0.2", 30443)


async def test_bytes_arrive_unchanged_and_a_half_close_is_passed_on(echo_port: int) -> None:
    sent = bytes(range(256)) * 40_000
    async with await relay_to(echo_port) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.sockets[0].getsockname()[1])
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(30):
            assert await reader.read() == sent
        writer.close()


async def test_many_connections_at_once_each_get_their_own_answer(echo_port: int) -> None:
    async with await relay_to(echo_port) as relay:
        port = relay.sockets[0].getsockname()[1]

        async def talk(number: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(str(number).encode())
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(talk(number) for number in range(300)))
    assert answers == [str(number).encode() for number in range(300)]


async def test_a_refused_connection_closes_the_clients(unused_tcp_port: int) -> None:
    async with await relay_to(unused_tcp_port) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.sockets[0].getsockname()[1])
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_a_reader_that_does_not_read_holds_its_writer_back() -> None:
    """The relay keeps a bounded number of bytes: most of what the writer has must wait at the writer."""
    arrived = asyncio.Event()
    halt = asyncio.Event()
    gone = asyncio.Event()

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        arrived.set()
        await halt.wait()
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(never_read, "127.0.0.1", 0)
    async with server, await relay_to(server.sockets[0].getsockname()[1]) as relay:
        with socket.create_connection(("127.0.0.1", relay.sockets[0].getsockname()[1])) as client:
            client.settimeout(0)
            await arrived.wait()
            taken = 0
            stalled = 0
            while stalled < 20:
                try:
                    taken += client.send(b"x" * 65536)
                    stalled = 0
                except BlockingIOError:
                    stalled += 1
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0)
                # Kernel buffers and the relay's own, with room to spare; without a limit it would never stall.
                assert taken < 64 * 2**20
        halt.set()
        await gone.wait()
