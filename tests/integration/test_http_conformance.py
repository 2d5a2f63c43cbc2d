"""RFC 9110, 9112 and 6455 (section 4) at a real server: what it takes, what it refuses, and that each answer is one."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.routes import MAX_BODY_BYTES
from tests.support.devices import WAIT_SECONDS, sign_in
from tests.support.malformed import (
    GOOD,
    MALFORMED,
    NOT_OPENING,
    OPENING,
    TOO_LARGE,
    Answer,
    chunked,
    get,
    post,
    read_answers,
)
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

CLOSE = get(b"/livez", b"Connection: close\r\n")


@pytest.fixture(scope="module")
def server(postgres: Any, migrated_template: str) -> Iterator[ServerProcess]:
    """A server of which no request of these tests may make a line at `error`."""
    with ServerProcess(postgres.dsn(postgres.create_database(migrated_template)), "one") as running:
        running.wait_ready()
        yield running
        assert_no_error_is_logged(running)


def assert_no_error_is_logged(server: ServerProcess) -> None:
    assert [event for event in server.events() if event["level"] in {"warning", "error", "critical"}] == []


async def ask(server: ServerProcess, raw: bytes, *, most: int = 100) -> list[Answer]:
    """Write a request and return what is answered until the connection ends, checked."""
    method = raw.lstrip().split(b" ", 1)[0].decode("latin-1")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    try:
        writer.write(raw)
        async with asyncio.timeout(WAIT_SECONDS):
            answers = await read_answers(reader, "HEAD" if method == "HEAD" else "GET", most=most)
    finally:
        writer.close()
    for answer in answers:
        assert_answer(answer, is_head=method == "HEAD")
    return answers


def assert_answer(answer: Answer, *, is_head: bool = False) -> None:
    """Check what every answer must have (RFC 9110)."""
    status, headers = answer.status, answer.headers
    if status == 101:
        assert headers["upgrade"] == "websocket"
        assert headers["connection"].lower() == "upgrade"
        return
    assert email.utils.parsedate(headers["date"]) is not None
    assert headers["x-request-id"]
    assert headers["cache-control"]
    assert "transfer-encoding" not in headers
    if status in {204, 304} or is_head:
        assert answer.body == b""
    else:
        assert len(answer.body) == int(headers["content-length"])
    if status in {204, 304}:
        assert "content-length" not in headers
        assert "content-type" not in headers
    if status >= 400:
        assert headers["content-type"] == "application/problem+json"
        if not is_head:
            assert json.loads(answer.body)["status"] == status
    required = {401: "www-authenticate", 405: "allow", 426: "upgrade", 429: "retry-after", 503: "retry-after"}
    assert status not in required or headers[required[status]]
    assert (status == 426) == ("sec-websocket-version" in headers)


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_or_can_be_read_in_two_ways_is_400_and_nothing_behind_it_is_read(
    server: ServerProcess, raw: bytes
) -> None:
    (answer,) = await ask(server, raw)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_request")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("raw", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_what_is_too_large_is_413(server: ServerProcess, raw: bytes) -> None:
    (answer,) = await ask(server, raw, most=1)
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "too_large")


@pytest.mark.parametrize("body", [b"2;" + b"a" * 9000 + b"\r\n{}", b"2\r\n{}\r\n0\r\nA: " + b"b" * 9000])
async def test_what_nobody_reads_of_a_body_has_a_limit_too(server: ServerProcess, body: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    writer.write(chunked(body))
    async with asyncio.timeout(WAIT_SECONDS):
        # The last byte waits for the rest of the request, as with every body that is too large.
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize(("raw", "status"), GOOD.values(), ids=GOOD)
async def test_what_is_odd_but_http_is_answered(server: ServerProcess, raw: bytes, status: int) -> None:
    answers = await ask(server, raw, most=1)
    assert [answer.status for answer in answers] == [status]


@pytest.mark.parametrize("raw", OPENING.values(), ids=OPENING)
async def test_a_handshake_opens_a_websocket_however_its_lists_are_written(server: ServerProcess, raw: bytes) -> None:
    (answer,) = await ask(server, raw)
    assert answer.status == 101
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer.headers.get("sec-websocket-protocol") == ("chat.v1" if b"-Protocol:" in raw else None)
    assert "sec-websocket-extensions" not in answer.headers


@pytest.mark.parametrize(("raw", "status"), NOT_OPENING.values(), ids=NOT_OPENING)
async def test_what_is_no_handshake_is_told_why(server: ServerProcess, raw: bytes, status: int) -> None:
    (answer,) = await ask(server, raw, most=1)
    assert answer.status == status


async def test_requests_behind_each_other_are_answered_in_their_order_and_none_behind_the_last(
    server: ServerProcess,
) -> None:
    chunks = b"2;a=b\r\n{}\r\n0\r\nA: b\r\n\r\n"
    pipeline = [
        get(b"/livez"),
        post(b"Content-Length: 2\r\n", b"{}"),
        get(b"/nowhere"),
        post(b"Transfer-Encoding: chunked\r\n", chunks),
        post(b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"{}"),
        b"PUT /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        CLOSE,
        get(b"/livez") * 3,
    ]
    answers = await ask(server, b"".join(pipeline))
    assert [answer.status for answer in answers] == [200, 422, 404, 422, 422, 405, 200]
    assert [answer.headers["connection"] for answer in answers] == ["keep-alive"] * 6 + ["close"]
    for last in (get(b"//"), b"GET /livez HTTP/1.0\r\n\r\n"):
        assert len(await ask(server, get(b"/livez") + last + get(b"/livez"), most=3)) == 2


@pytest.mark.parametrize(("size", "status"), [(2, 422), (MAX_BODY_BYTES + 1, 413)])
async def test_a_client_that_waits_before_it_sends_a_body_is_told_to_go_on(
    server: ServerProcess, size: int, status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    writer.write(post(b"Expect: 100-continue\r\nContent-Length: %d\r\nConnection: close\r\n" % size))
    async with asyncio.timeout(WAIT_SECONDS):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}" + b" " * (size - 2))
        (answer,) = await read_answers(reader)
    writer.close()
    assert answer.status == status


async def test_a_request_is_the_same_however_its_bytes_arrive(server: ServerProcess) -> None:
    raw = post(b"Transfer-Encoding: chunked\r\n", b"1;a\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n") + CLOSE
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    for byte in raw:
        writer.write(bytes([byte]))
        await writer.drain()
    async with asyncio.timeout(WAIT_SECONDS):
        answers = await read_answers(reader)
    writer.close()
    assert [answer.status for answer in answers] == [422, 200]


async def test_each_call_that_answers_without_a_body_has_none(server: ServerProcess) -> None:
    ana = await sign_in(server)
    token = f"Authorization: Bearer {ana.token}\r\n".encode()
    receipts = b'{"chats": {}}'
    length = b"Content-Length: %d\r\n" % len(receipts)
    (stored,) = await ask(server, post(token + length, receipts).replace(b"/api/auth/code", b"/api/receipts"), most=1)
    assert stored.status == 204
    (page,) = await ask(server, get(b"/docs"), most=1)
    tag = f"If-None-Match: {page.headers['etag']}\r\n".encode()
    (known,) = await ask(server, get(b"/docs", tag), most=1)
    assert known.status == 304
    assert known.headers["etag"] == page.headers["etag"]
    # What HEAD says is what GET would have said.
    (head,) = await ask(server, b"HEAD" + get(b"/docs")[3:], most=1)
    same = {name: value for name, value in page.headers.items() if name not in {"date", "x-request-id"}}
    assert same.items() <= head.headers.items()


async def test_content_that_a_client_has_is_304_in_each_form_of_if_none_match(server: ServerProcess) -> None:
    (page,) = await ask(server, get(b"/docs"), most=1)
    tag = page.headers["etag"].encode()
    line = b"If-None-Match: %s\r\n"
    known = [
        line % tag,
        line % (b"W/" + tag),
        line % (b'"other", W/' + tag),
        line % b'"other"' + line % tag,
        line % b"*",
    ]
    answers = [(await ask(server, get(b"/docs", lines), most=1))[0].status for lines in known]
    assert answers == [304] * len(known)
    (other,) = await ask(server, get(b"/docs", line % b'W/"other"'), most=1)
    assert other.status == 200


async def test_a_compressed_body_is_told_that_this_server_decodes_none(server: ServerProcess) -> None:
    body = gzip.compress(b'{"phone_number": "+14155550101"}')
    (answer,) = await ask(server, post(b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(body), body), most=1)
    assert answer.status == 400
    assert "Content-Encoding" in json.loads(answer.body)["detail"]


async def test_a_client_that_hangs_up_in_the_middle_makes_no_error(server: ServerProcess) -> None:
    raw = post(b"Transfer-Encoding: chunked\r\n", b"5\r\n{}   \r\n0\r\nA: b\r\n\r\n")
    port = int(server.url.rsplit(":", 1)[1])
    for cut in range(0, len(raw), 7):
        for ends in (asyncio.StreamWriter.close, lambda writer: writer.transport.abort()):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw[:cut])
            with contextlib.suppress(OSError):
                await writer.drain()
            ends(writer)
    assert [answer.status for answer in await ask(server, CLOSE)] == [200]
    assert_no_error_is_logged(server)
