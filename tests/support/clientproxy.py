"""A TCP proxy between clients and chatservers that can cut all connections, stand still and refuse new ones."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

    from tests.support.server import ServerProcess

CHUNK_BYTES = 64 * 1024


class ClientProxy:
    """Passes bytes between clients and whichever server it picks, in this event loop.

    Args:
        tls: How it serves TLS; None: it does not.

    Attributes:
        servers: To pick from.
        refuses: New connections end at once.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.servers: list[ServerProcess] = []
        self.refuses = False
        self.url = ""
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """End all connections, without a close."""
        for task in self._tasks:
            task.cancel()

    def stand_still(self) -> None:
        """Keep back what is sent from now on, on old and new connections."""
        self._passing.clear()

    def go_on(self) -> None:
        """Deliver what was kept back, late."""
        self._passing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refuses or not self.servers:
                return
            address = urlsplit(random.choice(self.servers).url)  # noqa: S311 - any will do
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection(address.hostname, address.port)
                try:
                    async with asyncio.TaskGroup() as pipes:
                        pipes.create_task(self._pipe(reader, back))
                        pipes.create_task(self._pipe(there, writer))
                finally:
                    back.transport.abort()
        finally:
            writer.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
