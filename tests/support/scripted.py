"""A chatserver that says what a test tells it to, on a real port."""

from __future__ import annotations

import asyncio
import contextlib
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from chatcluster_client import LiveClient, Positions, RestClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.http11 import Request, Response

WAIT_SECONDS = 20
ME = 1
CHAT = 7


def row(seq: int, *, chat_id: int = CHAT, from_id: int = 2, **fields: Any) -> dict[str, Any]:
    return {"chat_id": chat_id, "seq": seq, "kind": "message", "from_id": from_id, "text": str(seq), **fields}


def message(seq: int, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "message": row(seq, **fields)}


class Script:
    """A server that says what a test tells it to, and remembers what it heard.

    Attributes:
        away: refuses connections for now.
        retry_after: what it says then; empty: nothing.
        limits: what `welcome` names.
        epoch: what `welcome` names.
        connections: how many there were.
        history: what REST has of each chat; a status instead for a chat that it refuses.
    """

    def __init__(self) -> None:
        self.away = False
        self.retry_after = ""
        self.limits: dict[str, int] = {}
        self.epoch = "first"
        self.connections = 0
        self.history: dict[int, list[dict[str, Any]] | HTTPStatus] = {}
        self.asked: list[str] = []
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._socket: ServerConnection | None = None

    async def converse(self, socket: ServerConnection) -> None:
        """Welcome a client and remember its frames."""
        self._socket = socket
        self.connections += 1
        await self.say(
            {"type": "welcome", "server": "script", "user_id": ME, "epoch": self.epoch, "limits": self.limits}
        )
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                self._frames.put_nowait(json.loads(text))

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer REST; None leaves the upgrade to websockets."""
        url = urlsplit(request.path)
        if url.path == "/api/ws":
            return self._refuse(connection) if self.away else None
        self.asked.append(url.path)
        lists = {chat_id: rows for chat_id, rows in self.history.items() if isinstance(rows, list)}
        body: Any = {
            "chats": [{"chat_id": chat_id, "last_seq": len(rows)} for chat_id, rows in lists.items()],
            "next_cursor": None,
        }
        status = HTTPStatus.OK
        if url.path.endswith("/messages"):
            found = self.history[int(url.path.split("/")[3])]
            if isinstance(found, HTTPStatus):
                status, body = found, {"code": "not_a_member", "detail": ""}
            else:
                body = [one for one in found if one["seq"] > int(parse_qs(url.query)["after"][0])]
        response = connection.respond(status, json.dumps(body))
        response.headers["X-More"] = "false"
        return response

    def _refuse(self, connection: ServerConnection) -> Response:
        response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")
        if self.retry_after:
            response.headers["Retry-After"] = self.retry_after
        return response

    async def say(self, *frames: dict[str, Any]) -> None:
        """Send frames."""
        assert self._socket is not None
        for frame in frames:
            await self._socket.send(json.dumps(frame))

    async def hear(self, kind: str) -> dict[str, Any]:
        """Return the next frame of a type."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (frame := await self._frames.get())["type"] != kind:
                pass
            return frame

    async def say_raw(self, *frames: str | bytes) -> None:
        """Send what need not be a frame of the protocol."""
        assert self._socket is not None
        for frame in frames:
            await self._socket.send(frame)

    async def hang_up(self, code: int = 1012) -> None:
        """Close the connection as a server does that restarts, or with another code."""
        assert self._socket is not None
        await self._socket.close(code)


@contextlib.asynccontextmanager
async def scripted(
    *,
    limits: dict[str, int] | None = None,
    max_frame_bytes: int = 1 << 20,
    positions: Positions | None = None,
    user_id: int = ME,
) -> AsyncIterator[tuple[Script, LiveClient]]:
    """Run a script and a client that is connected to it.

    Args:
        limits: What `welcome` names.
        max_frame_bytes: Of a client's frame; above it the server closes with 1009.
        positions: What the client has handled already.
        user_id: Whose the client takes itself to be; 0: it does not know.
    """
    script = Script()
    script.limits = limits or {}
    serving = serve(script.converse, "127.0.0.1", 0, process_request=script.answer, max_size=max_frame_bytes)
    async with serving as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with (
            RestClient(f"http://127.0.0.1:{port}", "token", user_id) as rest,
            LiveClient(rest, positions) as live,
        ):
            await asyncio.wait_for(live.connected.wait(), WAIT_SECONDS)
            yield script, live
