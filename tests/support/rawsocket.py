"""A WebSocket's client that writes any bytes."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING

from tests.support.devices import WAIT_SECONDS
from tests.support.wsframes import CLOSE, TEXT, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class RawSocket:
    """A WebSocket connection to which any bytes can be written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def read(self) -> tuple[int, bytes]:
        """Return the opcode and payload of the server's next frame.

        Raises:
            asyncio.IncompleteReadError: the connection has ended.
            ConnectionError: it was reset.
        """
        async with asyncio.timeout(WAIT_SECONDS):
            first, size = await self._reader.readexactly(2)
            assert not size & 0x80, "a server masks nothing"
            if size == 126:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return first & 0x0F, await self._reader.readexactly(size)

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Return all frames until the connection ends."""
        while True:
            try:
                yield await self.read()
            except (asyncio.IncompleteReadError, ConnectionError):
                return

    async def close_code(self) -> int | None:
        """Answer the server's close frame, read to the end and return its code; None if there was no such frame."""
        code = None
        async for opcode, payload in self.frames():
            if opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0]
                self.writer.write(frame(CLOSE, payload[:2]))
        return code

    async def close_frame(self) -> bytes:
        """Return the payload of the server's close frame."""
        while True:
            opcode, payload = await self.read()
            if opcode == CLOSE:
                return payload

    async def answers(self) -> bool:
        """Return whether the server still answers."""
        self.writer.write(frame(TEXT, b'{"type": "ping"}'))
        async for opcode, payload in self.frames():
            if opcode == TEXT and json.loads(payload)["type"] == "pong":
                return True
        return False
