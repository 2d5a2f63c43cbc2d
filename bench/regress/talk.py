"""Clients that act strictly in sequence, so that the server's work is the same in each run."""

from __future__ import annotations

import http.client
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

ANSWER_SECONDS = 120.0
"""Longest wait for an answer: the server is a hundred times slower than otherwise, and may share a busy machine."""

READ_BYTES = 65536


class Line:
    """A WebSocket; frames that are sent together are written at once, and nothing is read before a call of `read`.

    Attributes:
        frames: received frames of all kinds.
        bytes: bytes in them.
    """

    def __init__(self, url: str, token: str) -> None:
        self.frames = 0
        self.bytes = 0
        self._waiting: dict[str, deque[dict[str, Any]]] = {}
        address = urlsplit(url)
        self._protocol = ClientProtocol(parse_uri(f"{url}/api/ws"))
        self._socket = socket.create_connection((address.hostname, address.port), ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {token}"
        self._protocol.send_request(request)
        self._write()
        self.read("welcome")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, frames: Iterable[bytes]) -> None:
        """Send frames, together."""
        for frame in frames:
            self._protocol.send_text(frame)
        self._write()

    def read(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for frames of a kind; those of other kinds are kept for later calls.

        Raises:
            RuntimeError: the server sends an error or closes the connection.
        """
        waiting = self._waiting.setdefault(kind, deque())
        while len(waiting) < count:
            self._read()
        return [waiting.popleft() for _ in range(count)]

    def is_open(self) -> bool:
        """Take what has come and answer pings; return whether the server keeps the connection."""
        self._socket.settimeout(0)
        try:
            while data := self._socket.recv(READ_BYTES):
                self._take(data)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self._socket.settimeout(ANSWER_SECONDS)
        return False

    def _write(self) -> None:
        self._socket.sendall(b"".join(self._protocol.data_to_send()))

    def _read(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise RuntimeError("the server closed the connection")
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.frames += 1
                self.bytes += len(event.data)
                frame = msgspec.json.decode(event.data)
                if frame["type"] == "error":
                    raise RuntimeError(f"the server refuses: {frame}")
                self._waiting.setdefault(frame["type"], deque()).append(frame)
        # Pongs, and other answers of the protocol.
        self._write()


class Api:
    """The REST API on one connection that stays open."""

    def __init__(self, url: str, token: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[Any, dict[str, str]]:
        """Return the answer's body and headers.

        Raises:
            RuntimeError: it is not a 200.
        """
        self._http.request(method, path, body, self._headers)
        answer = self._http.getresponse()
        text = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return msgspec.json.decode(text), dict(answer.headers)
