"""A TCP proxy in front of PostgreSQL that can swallow what goes over the connections of LISTEN, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine

SSL_REQUEST = (80877103).to_bytes(4, "big")
GSS_REQUEST = (80877104).to_bytes(4, "big")
CHUNK_BYTES = 64 * 1024


class DatabaseProxy:
    """Passes bytes between servers and one PostgreSQL, in this event loop.

    Args:
        port: where PostgreSQL listens on 127.0.0.1.

    Attributes:
        port: where the proxy does.
        swallowed: connections of LISTEN that met a black hole.
        is_deaf: the statement LISTEN itself is swallowed, on connections that are otherwise well.
        listening: connections of LISTEN that are open now.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.swallowed = 0
        self.is_deaf = False
        self.listening = 0
        self._database_port = port
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def dsn(self, database: str) -> str:
        """Return the DSN of a database behind the proxy."""
        return f"postgresql://chat@127.0.0.1:{self.port}/{database}"

    def swallow(self) -> None:
        """Make the bus a black hole: connections of LISTEN stay open, new ones are accepted, and nothing comes back."""
        self._passing.clear()

    def release(self) -> None:
        """End the black hole."""
        self._passing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                startup = await _read_startup(reader, writer)
                # The application's name tells a server's one connection of LISTEN from its pool.
                is_bus = b" listen\0" in startup
                if is_bus:
                    await self._pass()
                self.listening += is_bus
                database_reader, database_writer = await asyncio.open_connection("127.0.0.1", self._database_port)
                try:
                    database_writer.write(startup)
                    await _first_ended(
                        self._pipe(reader, database_writer, is_bus=is_bus),
                        self._pipe(database_reader, writer, is_bus=is_bus),
                    )
                finally:
                    self.listening -= is_bus
                    database_writer.transport.abort()
            finally:
                writer.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_bus: bool) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if is_bus:
                await self._pass()
                if self.is_deaf and b"LISTEN" in data:
                    continue
            writer.write(data)
            await writer.drain()

    async def _pass(self) -> None:
        if not self._passing.is_set():
            self.swallowed += 1
            await self._passing.wait()


async def _read_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return the first message of the protocol itself; encryption is answered with no."""
    while True:
        length = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(length, "big") - 4)
        if body not in {SSL_REQUEST, GSS_REQUEST}:
            return length + body
        writer.write(b"N")


async def _first_ended(*works: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
