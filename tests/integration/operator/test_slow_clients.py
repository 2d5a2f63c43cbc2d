"""Each phase of TLS, HTTP/1 and HTTP/2 sent a byte at a time or not at all: HAProxy has a deadline for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatoperator.parts.ingress.clients import IDLE_CONNECTIONS, ClientLimits
from tests.support.cluster import until
from tests.support.front import PATIENCE_SECONDS, ROUTE, echo, in_front, open_websocket
from tests.support.plainhttp import NO_TLS
from tests.support.trickle import Slow, all_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.front import Front

pytestmark = pytest.mark.integration

POST = b"POST /x HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"Content-Length: 10000\r\n\r\n"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes, *, claims: int | None = None) -> bytes:
    """A frame of HTTP/2; `claims` is the length that it says it has."""
    length = len(payload) if claims is None else claims
    return struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def head(path: str, *more: tuple[str, str], method: int = 3) -> bytes:
    """A header block without Huffman: POST (3) or GET (2) on a path."""
    name = b"localhost"
    block = bytes([0x80 | method, 0x87, 0x04, len(path)]) + path.encode() + bytes([0x01, len(name)]) + name
    for key, value in more:
        block += bytes([0x00, len(key)]) + key.encode() + bytes([len(value)]) + value.encode()
    return block


STARTED = PREFACE + frame(SETTINGS, 0, 0, b"")
ASKED = STARTED + frame(HEADERS, END_HEADERS, 1, head("/x"))
ALL = END_HEADERS | END_STREAM

SLOW = [
    Slow("nothing", tls=False),
    Slow("a handshake a byte at a time", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\x03", tls=False),
    Slow("half a handshake, half-closed", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", tls=False, ends=True),
    Slow("HTTP/1: no request"),
    Slow("HTTP/1: the request line", b"GET /", b"x"),
    Slow("HTTP/1: empty lines first", b"", b"\r\n"),
    Slow("HTTP/1: a header", POST + b"X-", b"x"),
    Slow("HTTP/1: headers", POST, b"A: b\r\n"),
    Slow("HTTP/1: a body", POST + LONG, b"x"),
    Slow("HTTP/1: no body", POST + LONG),
    Slow("HTTP/1: a body to be continued", POST + b"Expect: 100-continue\r\n" + LONG),
    Slow("HTTP/1: a body of a GET", b"GET /x HTTP/1.1\r\nHost: localhost\r\n" + LONG, b"x"),
    Slow("HTTP/1: a body with an upgrade", POST + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + LONG, b"x"),
    Slow("HTTP/1: a body of what is answered here", POST.replace(b"/x", b"/metrics") + LONG, b"x"),
    Slow("HTTP/1: a chunk's length", CHUNKED, b"0"),
    Slow("HTTP/1: a chunk's extension", CHUNKED + b"1;a=", b"x"),
    Slow("HTTP/1: a chunk", CHUNKED + b"2710\r\n", b"x"),
    Slow("HTTP/1: chunks", CHUNKED, b"1\r\nx\r\n"),
    Slow("HTTP/1: a trailer", CHUNKED + b"0\r\nA: ", b"x"),
    Slow("HTTP/1: the second of two requests", b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\nGET /", b"x"),
    Slow("HTTP/1: a second body", b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" + POST + LONG, b"x"),
    Slow("HTTP/1: nothing after an answer", b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    Slow("HTTP/2: the preface", b"PRI * HTTP/2.0\r\n", b"\r"),
    Slow("HTTP/2: no request", STARTED),
    Slow("HTTP/2: the head of a frame", STARTED + frame(HEADERS, END_HEADERS, 1, b"", claims=10000)[:6]),
    Slow("HTTP/2: headers", STARTED + frame(HEADERS, END_HEADERS, 1, head("/x"), claims=10000), b"\x00"),
    Slow("HTTP/2: no continuation", STARTED + frame(HEADERS, 0, 1, head("/x"))),
    Slow("HTTP/2: a continuation", STARTED + frame(HEADERS, 0, 1, head("/x")) + b"\x00\x27\x10\x09\x04", b"\x00"),
    Slow("HTTP/2: no body", ASKED),
    Slow("HTTP/2: a body", ASKED, frame(DATA, 0, 1, b"x")),
    Slow("HTTP/2: a body of a frame", ASKED + frame(DATA, 0, 1, b"", claims=10000), b"x"),
    Slow("HTTP/2: pings", STARTED, frame(PING, 0, 0, b"pingping")),
    Slow("HTTP/2: pings beside a body that does not come", ASKED, frame(PING, 0, 0, b"pingping")),
    Slow("HTTP/2: nothing after an answer", STARTED + frame(HEADERS, ALL, 1, head("/x", method=2))),
    Slow("port 80: the request line", b"GET /", b"x", tls=False),
    Slow("port 80: a body", POST + LONG, b"x", tls=False),
    Slow("port 80: chunks", CHUNKED, b"1\r\nx\r\n", tls=False),
]
HANDSHAKES = {"nothing", "a handshake a byte at a time", "half a handshake, half-closed"}


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Front]:
    """A front whose deadlines are short."""
    times = {"client-hs": "8s", "http-request": "1s", "http-keep-alive": "1s", "client": "5s", "client-fin": "1s"}
    async with in_front(tmp_path, replace(ROUTE, body_seconds=1), times=times) as front:
        yield front


async def test_no_phase_of_a_connection_can_last_without_an_end(hasty: Front) -> None:
    reader, writer = await open_websocket(hasty)
    over_tls = [slow for slow in SLOW if slow.tls]
    bare = [slow for slow in SLOW if slow.name in HANDSHAKES]
    plain = [slow for slow in SLOW if not slow.tls and slow.name not in HANDSHAKES]
    answers: dict[str, bytes] = {}
    for found in await asyncio.gather(
        all_end(over_tls, hasty.https_port), all_end(bare, hasty.https_port), all_end(plain, hasty.http_port)
    ):
        answers |= found
    assert answers["HTTP/1: the second of two requests"].startswith(b"HTTP/1.1 200")
    # Whoever is slow with a body reaches no server, and holds nothing there.
    assert {request.method for request in hasty.seen} == {"GET"}
    assert await echo(reader, writer, b"still here") == b"still here"
    writer.close()


async def test_bodies_that_arrive_in_pieces_but_in_time_pass(hasty: Front) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 100
            await asyncio.sleep(0.05)

    for content in (b"x", b"x" * 12_000, b"x" * 300_000, pieces()):
        answer = await hasty.client.post(f"{hasty.https}/x", content=content)
        assert answer.status_code == httpx.codes.OK
    expecting = await hasty.client.post(f"{hasty.https}/x", content=b"abc", headers={"Expect": "100-continue"})
    assert expecting.status_code == httpx.codes.OK
    assert len(hasty.seen) == 5


ODD = {
    "a length that overflows 64 bits": b"Content-Length: 18446744073709551618\r\n\r\n12",
    "a length of 13 digits": b"Content-Length: 1000000000000\r\n\r\n12",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n12",
    "two lengths in one": b"Content-Length: 2, 3\r\n\r\n12",
    "a signed length": b"Content-Length: +2\r\n\r\n12",
    "a negative length": b"Content-Length: -2\r\n\r\n12",
    "a hexadecimal length": b"Content-Length: 0x2\r\n\r\n12",
    "no length": b"Content-Length:\r\n\r\n12",
    "another coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n",
    "no such coding": b"Transfer-Encoding: xchunked\r\n\r\n2\r\n12\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n12",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n",
    "a chunk that overflows": b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n12\r\n0\r\n\r\n",
    "a chunk that is no number": b"Transfer-Encoding: chunked\r\n\r\nx\r\n12\r\n0\r\n\r\n",
    "a chunk longer than it says": b"Transfer-Encoding: chunked\r\n\r\n1\r\n12\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 2\r\n\r\n12",
    "a bare carriage return": b"X: a\rContent-Length: 9\r\nContent-Length: 2\r\n\r\n12",
    "a zero byte": b"X: a\x00b\r\nContent-Length: 2\r\n\r\n12",
}


async def test_odd_framing_ends_at_haproxy(hasty: Front) -> None:
    answers = await all_end([Slow(name, POST + rest) for name, rest in ODD.items()], hasty.https_port)
    statuses = {name: answer.split()[1] for name, answer in answers.items() if answer}
    assert {name: status for name, status in statuses.items() if status not in {b"400", b"422", b"501"}} == {}

    def refused() -> list[dict[str, Any]]:
        return [line for line in hasty.logged("request") if line["method"] != "GET"]

    async def logged() -> bool:
        return len(refused()) >= len(ODD)

    await until(logged, "all refusals are logged", PATIENCE_SECONDS)
    # The server behind this one may be pickier than others.
    assert {line["server"] for line in refused()} == {"<NOSRV>"}


async def test_an_address_may_have_so_many_connections_before_it_says_anything(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(ROUTE, limits=ClientLimits(connections=2))) as front:
        most = 2 + IDLE_CONNECTIONS
        silent = [asyncio.create_task(_stay_silent(front.https_port)) for _ in range(most + 5)]

        async def refused() -> bool:
            return sum(task.done() for task in silent) >= 5

        await until(refused, "what is too much is refused", PATIENCE_SECONDS, poll_seconds=0.1)
        # Over the connection that it has had all the time.
        assert (await front.client.get(f"{front.https}/x")).status_code == httpx.codes.OK
        assert sum(task.done() for task in silent) <= 6, "and nothing else"
        for task in silent:
            task.cancel()


async def _stay_silent(port: int) -> None:
    """Until HAProxy ends the connection."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await reader.read()
        finally:
            writer.transport.abort()


async def test_connections_through_a_trusted_proxy_are_not_counted_as_its_own(tmp_path: Path) -> None:
    route = replace(ROUTE, limits=ClientLimits(connections=1), trusted_proxies=("127.0.0.0/8",))
    async with in_front(tmp_path, route) as front:
        opened = [await asyncio.open_connection("127.0.0.1", front.https_port) for _ in range(1 + IDLE_CONNECTIONS + 5)]
        await front.status_is(200)
        for _, writer in opened:
            writer.close()


async def test_clients_that_fill_haproxy_do_not_keep_kubelet_out(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(ROUTE, max_connections=20)) as front:
        opened = [await asyncio.open_connection("127.0.0.1", front.https_port) for _ in range(25)]

        async def full() -> bool:
            return "CurrConns: 2" in await front.command("show info")

        await until(full, "it is full", PATIENCE_SECONDS, poll_seconds=0.1)
        async with httpx.AsyncClient(verify=NO_TLS) as kubelet:
            assert (await kubelet.get(f"{front.statistics}/healthz")).status_code == httpx.codes.OK
        for _, writer in opened:
            writer.close()
        await front.status_is(200)
