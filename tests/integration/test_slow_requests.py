"""Requests that arrive slowly, or not whole: the server ends them, and never a connection that it offers for others."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatserver.routes import MAX_BODY_BYTES
from tests.support.devices import sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess
from tests.support.trickle import Slow, all_end

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
CODE = b"POST /api/auth/code" + HOST
NOWHERE = b"POST /nowhere" + HOST
MINE = b"POST /api/messages" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"Content-Length: 10000\r\n\r\n"
UPGRADE = (
    b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

SLOW = [
    Slow("the request line", b"GET /", b"x"),
    Slow("a header", CODE + b"X-", b"x"),
    Slow("headers", CODE, b"A: b\r\n"),
    Slow("a body", CODE + LONG, b"x"),
    Slow("no body", CODE + LONG),
    Slow("a body to be continued", CODE + b"Expect: 100-continue\r\n" + LONG),
    Slow("a body that nobody asked for", b"GET /livez" + HOST + LONG, b"x"),
    Slow("a chunk's length", CODE + CHUNKED, b"0"),
    Slow("a chunk's extension", CODE + CHUNKED + b"1;a=", b"x"),
    Slow("a chunk", CODE + CHUNKED + b"2710\r\n", b"x"),
    Slow("chunks", CODE + CHUNKED, b"1\r\nx\r\n"),
    Slow("a trailer", CODE + CHUNKED + b"0\r\nA: ", b"x"),
    Slow("a body after 404", NOWHERE + LONG, b"x"),
    Slow("chunks after 404", NOWHERE + CHUNKED, b"1\r\nx\r\n"),
    Slow("a body after 401", MINE + LONG, b"x"),
    Slow("a body after 405", b"PUT /api/messages" + HOST + LONG, b"x"),
    Slow("a body after 413", CODE + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 400_000, b"x"),
    Slow(
        "a body of a handshake", b"GET /api/ws" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + LONG, b"x"
    ),
    Slow("the second of two requests", b"GET /livez" + HOST + b"\r\nGET /", b"x"),
    Slow("a second body", b"GET /livez" + HOST + b"\r\n" + CODE + LONG, b"x"),
    Slow("half a body, half-closed", CODE + LONG + b"x", ends=True),
]


@pytest.fixture(scope="module")
def hasty(postgres: Any, migrated_template: str) -> Iterator[ServerProcess]:
    """A server that waits a second for a request."""
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_REQUEST_SECONDS=1) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def impatient(postgres: Any, migrated_template: str) -> Iterator[ServerProcess]:
    """A server that pings after a second."""
    server = ServerProcess(postgres.dsn(postgres.create_database(migrated_template)), "one")
    server.prefix = (sys.executable, "-m", "tests.support.hasty")
    with server:
        server.wait_ready()
        yield server


async def test_no_phase_of_a_websocket_can_last_without_an_end(impatient: ServerProcess) -> None:
    ends = {
        "nothing": b"",
        "the head of a frame": b"\x81",
        "a long frame": b"\x81\xfe\xff\xff\x00\x00\x00\x00",
        "a message of fragments": b"\x01\x80\x00\x00\x00\x00",
        "half a close": b"\x88",
        "half a ping": b"\x89\xfd\x00",
    }
    slow: list[Slow] = []
    for name, first in ends.items():
        for rest in (b"", b"x" if name == "a long frame" else b""):
            ana = await sign_in(impatient)
            shake = b"GET /api/ws" + HOST + b"Authorization: Bearer " + ana.token.encode() + UPGRADE
            slow.append(Slow(f"{name}, then {rest!r} {len(slow)}", shake + first, rest, tls=False))
    answers = await all_end(slow, port_of(impatient))
    assert {answer.split()[1] for answer in answers.values()} == {b"101"}


def port_of(server: ServerProcess) -> int:
    return int(server.url.rsplit(":", 1)[1])


async def test_no_phase_of_a_request_can_last_without_an_end(hasty: ServerProcess) -> None:
    slow = [Slow(way.name, way.first, way.rest, tls=False, ends=way.ends) for way in SLOW]
    answers = await all_end(slow, port_of(hasty))
    unread = {way.name: answers[way.name] for way in SLOW if LONG in way.first or "chunks" in way.name}
    # To a whole one HAProxy would add the wait for the rest of its request.
    assert [name for name, answer in unread.items() if is_whole(answer.rpartition(b"HTTP/1.1 ")[2])] == []
    async with httpx.AsyncClient(base_url=hasty.url, verify=NO_TLS, trust_env=False) as http:
        assert (await http.get("/livez")).status_code == httpx.codes.OK


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0].split(b":")[1])


@pytest.mark.parametrize("path", ["/nowhere", "/api/messages"])
async def test_an_answer_before_the_end_of_its_request_is_whole_when_that_has_come(
    hasty: ServerProcess, path: str
) -> None:
    for pieces in (1, 50):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(hasty))
        writer.write(f"POST {path}".encode() + HOST + b"Content-Length: 5000\r\n\r\n")
        for _ in range(pieces):
            writer.write(b"x" * (5000 // pieces))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"GET /livez" + HOST + b"Connection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        first, _, second = answer.partition(b"HTTP/1.1 200")
        assert is_whole(first)
        # Either both are answered or the first says that nothing more will be.
        assert bool(second) or b"connection: close" in first.lower()


def exchange(server: ServerProcess, *requests: bytes) -> list[bytes]:
    """Send requests over one connection, each once the one before is answered."""
    answers = []
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=30) as client:
        for request in requests:
            client.sendall(request)
            answers.append(client.recv(65536))
    return answers


ODD_ENDS = {
    "a trailer": NOWHERE + CHUNKED + b"1\r\nx\r\n0\r\nA: b\r\n\r\n",
    "a trailer that is none": CODE + CHUNKED + b"2\r\n{}\r\n0\r\nA b\r\n\r\n",
    "a bad chunk": NOWHERE + CHUNKED + b"x\r\n",
    "more than it says": NOWHERE + CHUNKED + b"1\r\nxx\r\n0\r\n\r\n",
    "too much": CODE + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1) + b"x" * (MAX_BODY_BYTES + 1),
    "another coding": NOWHERE + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "no length": NOWHERE + b"Content-Length: many\r\n\r\n",
}


@pytest.mark.parametrize("name", ODD_ENDS)
def test_a_connection_that_the_server_ends_was_never_offered_for_another_request(
    hasty: ServerProcess, name: str
) -> None:
    """A proxy gives a connection whose answer does not say `close` to somebody else's request."""
    (answer,) = exchange(hasty, ODD_ENDS[name])
    assert b"connection: close" in answer.lower(), answer


def test_a_body_that_is_here_already_costs_no_connection(hasty: ServerProcess) -> None:
    refused = NOWHERE + b"Content-Length: 2\r\n\r\n{}"
    answers = exchange(hasty, refused, refused, b"GET /livez" + HOST + b"\r\n")
    assert [answer.split()[1] for answer in answers] == [b"404", b"404", b"200"]
