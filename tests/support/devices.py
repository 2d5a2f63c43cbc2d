"""Devices of people in tests: httpx and websockets against real servers."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.server import ServerProcess

WAIT_SECONDS = 20
"""Far beyond what a healthy server needs, on a loaded machine too."""

_numbers = itertools.count(1)

Frame = dict[str, Any]


class Socket:
    """A WebSocket that remembers every frame."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[Frame] = []

    async def send(self, **frame: object) -> None:
        """Send a frame."""
        await self.connection.send(json.dumps(frame))

    async def message(self, text: str, **target: object) -> Frame:
        """Send a message and return its ack or error."""
        frame_id = str(uuid.uuid4())
        await self.send(type="send", id=frame_id, text=text, **target)
        return await self.until(lambda frame: frame.get("id") == frame_id)

    async def until(self, wanted: Callable[[Frame], bool], seconds: float = WAIT_SECONDS) -> Frame:
        """Return the first frame, remembered or new, that is wanted."""
        for frame in self.frames:
            if wanted(frame):
                return frame
        async with asyncio.timeout(seconds):
            while True:
                received: Frame = json.loads(await self.connection.recv())
                self.frames.append(received)
                if wanted(received):
                    return received

    async def of_type(self, kind: str, **fields: object) -> Frame:
        """Return the first frame of a type with these fields."""
        return await self.until(lambda f: f["type"] == kind and all(f.get(key) == fields[key] for key in fields))

    async def text(self, text: str) -> Frame:
        """Return the row of the first message with a text."""
        frame = await self.until(lambda f: f["type"] == "message" and f["message"]["text"] == text)
        row: Frame = frame["message"]
        return row

    async def close_code(self, seconds: float = WAIT_SECONDS) -> int | None:
        """Read until the server closes and return its code."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.frames.append(json.loads(await self.connection.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def rows(self) -> list[tuple[int, int]]:
        """Return (chat_id, seq) of all message and event frames, as they came."""
        bodies = [f["message"] if f["type"] == "message" else f for f in self.frames if f["type"] in _ROWS]
        return [(body["chat_id"], body["seq"]) for body in bodies]


_ROWS = ("message", "event")


class Device:
    """A signed-in device that can talk to any server."""

    def __init__(self, session: dict[str, Any], name: str, phone_number: str) -> None:
        self.token: str = session["token"]
        self.device_id: int = session["device_id"]
        self.user_id: int = session["user"]["user_id"]
        self.name = name
        self.phone_number = phone_number

    @property
    def headers(self) -> dict[str, str]:
        """The bearer token's header."""
        return {"Authorization": f"Bearer {self.token}"}

    def handshake(self, server: ServerProcess) -> bytes:
        """Return the request that opens a WebSocket, for those who write its bytes themselves."""
        return (
            f"GET /api/ws HTTP/1.1\r\nHost: {server.url.removeprefix('http://')}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: chat.v1\r\nAuthorization: Bearer {self.token}\r\n\r\n"
        ).encode()

    def http(self, server: ServerProcess) -> httpx.AsyncClient:
        """Return a client of a server's REST API."""
        return httpx.AsyncClient(base_url=server.url, headers=self.headers, timeout=90, verify=NO_TLS, trust_env=False)

    @asynccontextmanager
    async def socket(self, server: ServerProcess, **options: Any) -> AsyncIterator[Socket]:
        """Open a WebSocket and take its welcome."""
        async with connect(
            f"{server.ws_url}/api/ws",
            subprotocols=[Subprotocol("chat.v1")],
            additional_headers=self.headers,
            proxy=None,
            **options,
        ) as connection:
            socket = Socket(connection)
            await socket.of_type("welcome", server=server.name, user_id=self.user_id)
            yield socket


async def sign_in(server: ServerProcess, name: str | None = None, *, phone_number: str | None = None) -> Device:
    """Sign a new person in, or with a known number another device of one."""
    number = phone_number or f"+1415{next(_numbers):07d}"
    async with httpx.AsyncClient(base_url=server.url, timeout=30, verify=NO_TLS, trust_env=False) as http:
        made = await http.post("/api/auth/code", json={"phone_number": number})
        assert made.status_code == httpx.codes.ACCEPTED, made.text
        body = {"phone_number": number, "code": made.json()["dev_code"]}
        if name is not None:
            body["username"] = name
        session = await http.post("/api/auth/session", json=body)
        assert session.status_code == httpx.codes.CREATED, session.text
    return Device(session.json(), name or number, number)
