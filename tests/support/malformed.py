"""Requests that are no HTTP or can be read in two ways, odd ones that are good, and what all are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11
import httpx

from chatserver.routes import MAX_BODY_BYTES

if TYPE_CHECKING:
    import asyncio

HOST = b"Host: chat.example\r\n"
HEAD = b" HTTP/1.1\r\n" + HOST
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
UPGRADE = b"Upgrade: websocket\r\n"
CONNECTION = b"Connection: Upgrade\r\n"
SMUGGLED = b"GET /smuggled" + HEAD + b"\r\n"
"""Behind a request, where somebody who reads the request in another way would find it."""


def get(target: bytes, more: bytes = b"") -> bytes:
    """Return a request."""
    return b"GET " + target + HEAD + more + b"\r\n"


def post(framing: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    """Return a request with a body that is framed in some way, to an address that reads it."""
    return b"POST /api/auth/code " + version + b"\r\n" + HOST + framing + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    """Return a request whose body comes in these chunks."""
    return post(b"Transfer-Encoding: chunked\r\n", body)


def handshake(*lines: bytes, first: bytes = b"GET /api/ws HTTP/1.1\r\n") -> bytes:
    """Return a WebSocket's handshake."""
    return first + HOST + b"".join(lines) + b"\r\n"


TARGETS: dict[str, bytes] = {
    "two slashes": get(b"//"),
    "two slashes and a name": get(b"//api/users/me"),
    "a query alone": get(b"?"),
    "a query without a path": get(b"?a=b"),
    "no slash": get(b"api/users/me"),
    "half an IPv6 address": get(b"http://["),
    "an absolute address without a host": get(b"http:///livez"),
    "an absolute address of another host": get(b"http://other.example/livez"),
    "an absolute address with a user": get(b"http://me@chat.example/livez"),
    "another scheme": get(b"ftp://chat.example/livez"),
    "the scheme of WebSockets": get(b"ws://chat.example/api/ws"),
    "an authority": get(b"chat.example:443"),
    "CONNECT": b"CONNECT chat.example:443" + HEAD + b"\r\n",
    "an asterisk for GET": get(b"*"),
    "a fragment": get(b"/livez#top"),
    "a fragment in the query": get(b"/livez?a=b#top"),
    "a lone percent sign": get(b"/api/users/%"),
    "half an escape": get(b"/api/users/%4"),
    "an escape that is none": get(b"/api/users/%zz"),
    "an escape in a query that is none": get(b"/api/users?username=%zz"),
    "an escape of Unicode": get(b"/api/users/%u0041"),
    "no UTF-8": get(b"/api/users/%ff"),
    "half a surrogate pair": get(b"/api/users/%ed%a0%80"),
    "an overlong slash": get(b"/api%c0%afusers"),
    "no UTF-8 in a query": get(b"/api/users?username=%ff"),
    "a NUL by escape": get(b"/app.js%00.html"),
    "a NUL": get(b"/api/\x00"),
    "a letter beyond ASCII": get("/caf\u00e9".encode()),
    "a tab": get(b"/api\tusers"),
    "DEL": get(b"/api\x7f"),
}
LINES: dict[str, bytes] = {
    "one word": b"NONSENSE\r\n\r\n",
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "two spaces": b"GET  /livez" + HEAD + b"\r\n",
    "a tab for a space": b"GET\t/livez" + HEAD + b"\r\n",
    "a space behind": b"GET /livez HTTP/1.1 \r\n" + HOST + b"\r\n",
    "a space in front": b" GET /livez" + HEAD + b"\r\n",
    "a method with a bracket": b"GE[T /livez" + HEAD + b"\r\n",
    "a version in lower case": b"GET /livez http/1.1\r\n" + HOST + b"\r\n",
    "a version with two digits": b"GET /livez HTTP/1.10\r\n" + HOST + b"\r\n",
    "another major version": b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a line that LF alone ends": b"GET /livez HTTP/1.1\n" + HOST + b"\r\n",
    "all lines end with LF alone": b"GET /livez HTTP/1.1\nHost: chat.example\n\n",
}
FIELDS: dict[str, bytes] = {
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "an empty Host": b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n",
    "two Hosts": get(b"/livez", b"Host: other.example\r\n"),
    "the same Host twice": get(b"/livez", HOST),
    "a list of Hosts": b"GET /livez HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
    "a Host with a path": b"GET /livez HTTP/1.1\r\nHost: chat.example/x\r\n\r\n",
    "a Host with a user": b"GET /livez HTTP/1.1\r\nHost: me@chat.example\r\n\r\n",
    "a Host with a port of letters": b"GET /livez HTTP/1.1\r\nHost: chat.example:http\r\n\r\n",
    "a Host with half an address": b"GET /livez HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a space before the colon": get(b"/livez", b"A : b\r\n"),
    "a space before a line": get(b"/livez", b" A: b\r\n"),
    "a folded line": get(b"/livez", b"A: b\r\n c\r\n"),
    "no colon": get(b"/livez", b"A\r\n"),
    "no name": get(b"/livez", b": b\r\n"),
    "a name beyond ASCII": get(b"/livez", "N\u00e4me: b\r\n".encode()),
    "a NUL in a value": get(b"/livez", b"A: b\x00c\r\n"),
    "a bare CR": get(b"/livez", b"A: b\rc\r\n"),
    "a bare LF": get(b"/livez", b"A: b\nC: d\r\n"),
    "a bell": get(b"/livez", b"A: \x07\r\n"),
    "a vertical tab": get(b"/livez", b"A: \x0bb\r\n"),
    "another expectation": post(b"Expect: 200-ok\r\nContent-Length: 2\r\n", b"{}"),
}
LENGTHS: dict[str, bytes] = {
    name: raw + SMUGGLED
    for name, raw in {
        "a length and chunks": post(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        "chunks and a length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"0\r\n\r\n"),
        "two lengths": post(b"Content-Length: 2\r\nContent-Length: 40\r\n", b"{}"),
        "the same length twice": post(b"Content-Length: 2\r\nContent-Length: 2\r\n", b"{}"),
        "a list of lengths": post(b"Content-Length: 2, 2\r\n", b"{}"),
        "a length with a sign": post(b"Content-Length: +2\r\n", b"{}"),
        "a length below zero": post(b"Content-Length: -2\r\n", b"{}"),
        "a length with an underscore": post(b"Content-Length: 1_0\r\n", b"{}" * 5),
        "a length with a space": post(b"Content-Length: 1 0\r\n", b"{}"),
        "a length by sixteen": post(b"Content-Length: 0x2\r\n", b"{}"),
        "a length in other digits": post("Content-Length: \u0662\r\n".encode(), b"{}"),
        "an empty length": post(b"Content-Length:\r\n"),
        "a length with a point": post(b"Content-Length: 2.0\r\n", b"{}"),
        "a coding that is none": post(b"Transfer-Encoding: identity\r\n", b"{}"),
        "another coding": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
        "a coding in quotes": post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
        "a coding behind a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
        "a coding with a parameter": post(b"Transfer-Encoding: chunked;a=b\r\n", b"0\r\n\r\n"),
        "chunks twice": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        "chunks in a list": post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
        "chunks and no coding": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"),
        "an empty coding": post(b"Transfer-Encoding:\r\n"),
        "chunks of HTTP/1.0": post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"HTTP/1.0"),
        "a coding with a space before its colon": post(b"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n", b"{}"),
        "a coding in a folded line": post(b"A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"{}"),
        "a coding behind a bare LF": post(b"A: b\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"{}"),
        "a coding behind a bare CR": post(b"A: b\rTransfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"{}"),
    }.items()
}
CHUNKS: dict[str, bytes] = {
    name: chunked(body) + SMUGGLED
    for name, body in {
        "no number": b"x\r\n{}\r\n0\r\n\r\n",
        "an empty number": b"\r\n{}\r\n0\r\n\r\n",
        "a number with a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
        "a number with a sign": b"+2\r\n{}\r\n0\r\n\r\n",
        "a number below zero": b"-2\r\n{}\r\n0\r\n\r\n",
        "a number with an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
        "a number behind a space": b" 2\r\n{}\r\n0\r\n\r\n",
        "a number in other digits": "\u0662\r\n{}\r\n0\r\n\r\n".encode(),
        "a number of more than 64 bits": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
        "a word behind the number": b"2 x\r\n{}\r\n0\r\n\r\n",
        "a NUL behind the number": b"2\x00\r\n{}\r\n0\r\n\r\n",
        "a bare LF behind the number": b"2\n{}\r\n0\r\n\r\n",
        "a bare LF in an extension": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
        "a bare CR in an extension": b"2;a\rb\r\n{}\r\n0\r\n\r\n",
        "a longer chunk than its number": b"2\r\n{}x\r\n0\r\n\r\n",
        "other bytes for the CRLF of a chunk": b"2\r\n{}XX0\r\n\r\n",
        "a bare LF behind a chunk": b"2\r\n{}\n0\r\n\r\n",
        "a trailer that is none": b"2\r\n{}\r\n0\r\nno colon\r\n\r\n",
        "a trailer with a space before its colon": b"2\r\n{}\r\n0\r\nA : b\r\n\r\n",
        "a trailer in a folded line": b"2\r\n{}\r\n0\r\nA: b\r\n c\r\n\r\n",
        "a trailer with a bare LF": b"2\r\n{}\r\n0\r\nA: b\nC: d\r\n\r\n",
    }.items()
}
MALFORMED: dict[str, bytes] = {
    f"{kind}: {name}": raw
    for kind, table in {
        "target": TARGETS,
        "line": LINES,
        "field": FIELDS,
        "length": LENGTHS,
        "chunk": CHUNKS,
    }.items()
    for name, raw in table.items()
}
"""Answered 400, and nothing behind them is read."""

TOO_LARGE: dict[str, bytes] = {
    "an address": get(b"/" + b"a" * 9000),
    "a query": get(b"/livez?" + b"a" * 9000),
    "an address that does not end": b"GET /" + b"a" * 60_000,
    "a header": get(b"/livez", b"A: " + b"b" * 9000 + b"\r\n"),
    "many headers": get(b"/livez", b"A:\r\n" * 2500),
    "a length of many digits": post(b"Content-Length: " + b"9" * 5000 + b"\r\n", b"{}"),
    "a length": post(b"Content-Length: %d\r\n" % (MAX_BODY_BYTES + 1), b"x" * (MAX_BODY_BYTES + 1)),
    "a chunk": chunked(b"%x\r\n" % (MAX_BODY_BYTES + 1) + b"x" * (MAX_BODY_BYTES + 1) + b"\r\n0\r\n\r\n"),
}
"""Answered 413."""

GOOD: dict[str, tuple[bytes, int]] = {
    "an empty line before": (b"\r\n\r\n" + get(b"/livez"), 200),
    "an absolute address": (get(b"http://chat.example/livez"), 200),
    "an absolute address in capitals": (get(b"HTTP://CHAT.EXAMPLE/livez"), 200),
    "an absolute address without a path": (get(b"http://chat.example?a=b"), 404),
    "HTTP/1.0": (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 that goes on": (b"GET /livez HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 200),
    "a Host with a port": (b"GET /livez HTTP/1.1\r\nHost: chat.example:8443\r\n\r\n", 200),
    "a Host that is an IPv6 address": (b"GET /livez HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", 200),
    "a Host in capitals, and spaces around": (b"GET /livez HTTP/1.1\r\nHOST: \t CHAT.example \t\r\n\r\n", 200),
    "a value beyond ASCII": (get(b"/livez", b"A: \xff\xfe\r\n"), 200),
    "an empty value": (get(b"/livez", b"A:\r\n"), 200),
    "an unknown method": (b"FROB /livez" + HEAD + b"\r\n", 405),
    "a method in lower case": (b"get /livez" + HEAD + b"\r\n", 405),
    "TRACE": (b"TRACE /livez" + HEAD + b"\r\n", 405),
    "OPTIONS": (b"OPTIONS /api/users/me" + HEAD + b"\r\n", 405),
    "OPTIONS of the server": (b"OPTIONS *" + HEAD + b"\r\n", 405),
    "letters that browsers leave as they are": (get(b'/api/users?username=|[]{}"^`<>\\'), 401),
    "an escaped slash": (get(b"/api%2fusers"), 404),
    "dots": (get(b"/../../etc/passwd"), 404),
    "a NUL in a query": (get(b"/api/users?username=%00"), 401),
    "HEAD": (b"HEAD /livez" + HEAD + b"\r\n", 200),
    "HEAD of a call": (b"HEAD /api/users/me" + HEAD + b"\r\n", 401),
    "HEAD of the documents": (b"HEAD /openapi.json" + HEAD + b"\r\n", 200),
    "HEAD of nothing": (b"HEAD /nowhere" + HEAD + b"\r\n", 404),
    "HEAD of a malformed address": (b"HEAD //" + HEAD + b"\r\n", 400),
    "HEAD of a WebSocket": (b"HEAD /api/ws" + HEAD + UPGRADE + CONNECTION + KEY + VERSION + b"\r\n", 426),
    "a body for GET": (get(b"/livez", b"Content-Length: 2\r\n") + b"{}", 200),
    "no bytes": (post(b"Content-Length: 0\r\n"), 400),
    "a body": (post(b"Content-Length: 2\r\n", b"{}"), 422),
    "a length with zeros in front": (post(b"Content-Length: 0002\r\n", b"{}"), 422),
    "a body to wait for": (post(b"Expect: 100-Continue\r\nContent-Length: 2\r\n", b"{}"), 422),
    "a body that HTTP/1.0 cannot wait for": (post(b"Expect: x\r\nContent-Length: 2\r\n", b"{}", b"HTTP/1.0"), 422),
    "chunks": (chunked(b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), 422),
    "chunks in capitals": (post(b"Transfer-Encoding: CHUNKED\r\n", b"2\r\n{}\r\n0\r\n\r\n"), 422),
    "chunks with extensions": (chunked(b'2;a=b;c="d"\r\n{}\r\n0;e\r\n\r\n'), 422),
    "chunks with zeros in front": (chunked(b"0002\r\n{}\r\n000\r\n\r\n"), 422),
    "trailers": (chunked(b"2\r\n{}\r\n0\r\nA: b\r\nC: d\r\n\r\n"), 422),
    "an end that is not the last word": (get(b"/livez", b"Connection: x\r\nConnection: close\r\n"), 200),
    "another protocol to go on with": (get(b"/livez", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), 200),
    "a WebSocket where there is none": (handshake(UPGRADE, CONNECTION, first=b"GET /livez HTTP/1.1\r\n"), 200),
    "an X-Forwarded-For beyond ASCII": (get(b"/api/users/me", b"X-Forwarded-For: \xff, \xfe\r\n"), 401),
    "a token beyond ASCII": (get(b"/api/users/me", b"Authorization: Bearer \xff\r\n"), 401),
    "two tokens": (get(b"/api/users/me", b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400),
}
"""Odd or not: what there is to be said about them HTTP says already."""

OPENING: dict[str, bytes] = {
    "one line each": handshake(UPGRADE, CONNECTION, KEY, VERSION),
    "an option a line": handshake(UPGRADE, b"Connection: keep-alive\r\n", CONNECTION, KEY, VERSION),
    "options in a list": handshake(UPGRADE, b"Connection: keep-alive, Upgrade\r\n", KEY, VERSION),
    "options in a list with nothing in it": handshake(UPGRADE, b"Connection: ,keep-alive,, Upgrade,\r\n", KEY, VERSION),
    "in other letters": handshake(b"UPGRADE: WebSocket\r\n", b"connection: UPGRADE\r\n", KEY, VERSION),
    "spaces around": handshake(b"Upgrade: \t websocket \t\r\n", b"Connection:\tUpgrade \r\n", KEY, VERSION),
    "a subprotocol a line": handshake(
        UPGRADE, CONNECTION, KEY, VERSION,
        b"Sec-WebSocket-Protocol: other\r\n", b"Sec-WebSocket-Protocol: chat.v1\r\n",
    ),
    "subprotocols in a list": handshake(
        UPGRADE, CONNECTION, KEY, VERSION, b"Sec-WebSocket-Protocol: chat.v1, other\r\n"
    ),
    "extensions in two lines": handshake(
        UPGRADE, CONNECTION, KEY, VERSION,
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        b"Sec-WebSocket-Extensions: x-unknown, permessage-deflate\r\n",
    ),
}  # fmt: skip
"""Handshakes that are answered 101."""

NOT_OPENING: dict[str, tuple[bytes, int]] = {
    "no Upgrade": (handshake(CONNECTION, KEY, VERSION), 426),
    "another Upgrade": (handshake(b"Upgrade: h2c\r\n", CONNECTION, KEY, VERSION), 426),
    "no Connection": (handshake(UPGRADE, KEY, VERSION), 400),
    "another Connection": (handshake(UPGRADE, b"Connection: keep-alive\r\n", KEY, VERSION), 400),
    "no version": (handshake(UPGRADE, CONNECTION, KEY), 400),
    "an older version": (handshake(UPGRADE, CONNECTION, KEY, b"Sec-WebSocket-Version: 8\r\n"), 426),
    "a version of the future": (handshake(UPGRADE, CONNECTION, KEY, b"Sec-WebSocket-Version: 14\r\n"), 426),
    "versions": (handshake(UPGRADE, CONNECTION, KEY, b"Sec-WebSocket-Version: 13, 8\r\n"), 426),
    "two versions": (handshake(UPGRADE, CONNECTION, KEY, VERSION, VERSION), 426),
    "no key": (handshake(UPGRADE, CONNECTION, VERSION), 400),
    "an empty key": (handshake(UPGRADE, CONNECTION, VERSION, b"Sec-WebSocket-Key:\r\n"), 400),
    "two keys": (handshake(UPGRADE, CONNECTION, VERSION, KEY, KEY), 400),
    "a short key": (handshake(UPGRADE, CONNECTION, VERSION, b"Sec-WebSocket-Key: YWJj\r\n"), 400),
    "a long key": (handshake(UPGRADE, CONNECTION, VERSION, b"Sec-WebSocket-Key: " + b"QUFB" * 8 + b"\r\n"), 400),
    "a key that is no base64": (
        handshake(UPGRADE, CONNECTION, VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n"), 400,
    ),
    "another subprotocol": (
        handshake(UPGRADE, CONNECTION, KEY, VERSION, b"Sec-WebSocket-Protocol: chat.v9\r\n"), 400,
    ),
    "an empty subprotocol": (handshake(UPGRADE, CONNECTION, KEY, VERSION, b"Sec-WebSocket-Protocol:\r\n"), 400),
    "a subprotocol that is no token": (
        handshake(UPGRADE, CONNECTION, KEY, VERSION, b"Sec-WebSocket-Protocol: chat v1\r\n"), 400,
    ),
    "a body": (handshake(UPGRADE, CONNECTION, KEY, VERSION, b"Content-Length: 2\r\n") + b"{}", 400),
    "a body in chunks": (
        handshake(UPGRADE, CONNECTION, KEY, VERSION, b"Transfer-Encoding: chunked\r\n") + b"2\r\n{}\r\n0\r\n\r\n", 400,
    ),
    "two tokens": (
        handshake(
            UPGRADE, CONNECTION, KEY, VERSION, b"Authorization: Bearer a\r\n", b"Authorization: Bearer b\r\n"
        ), 400,
    ),
    "HTTP/1.0": (handshake(UPGRADE, CONNECTION, KEY, VERSION, first=b"GET /api/ws HTTP/1.0\r\n"), 400),
    "POST": (handshake(UPGRADE, CONNECTION, KEY, VERSION, first=b"POST /api/ws HTTP/1.1\r\n"), 405),
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """An answer as h11, a strict client, reads it.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes


async def read_answers(reader: asyncio.StreamReader, method: str = "GET", *, most: int = 100) -> list[Answer]:
    """Return the answers that come until the connection ends, or the first of them.

    Raises:
        h11.RemoteProtocolError: they are no HTTP, the last one ends too soon, or something comes behind it.
    """
    answers: list[Answer] = []
    connection = h11.Connection(h11.CLIENT)
    _ask(connection, method)
    body = bytearray()
    response: Any = None
    while len(answers) < most:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.ConnectionClosed):
            break
        elif isinstance(event, h11.InformationalResponse) and event.status_code == httpx.codes.SWITCHING_PROTOCOLS:
            return [*answers, _answer(event, b"")]
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            answers.append(_answer(response, bytes(body)))
            body.clear()
            if connection.their_state is h11.DONE:
                connection.start_next_cycle()
                # What follows answers a request that stood behind.
                _ask(connection, "GET")
    return answers


def _ask(connection: h11.Connection, method: str) -> None:
    """Tell h11 what is answered; the request itself is written as it is."""
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Upgrade", "websocket")]))
    connection.send(h11.EndOfMessage())


def _answer(event: Any, body: bytes) -> Answer:
    names = [name.decode() for name, _ in event.headers]
    assert len(names) == len(set(names)), f"a header comes twice: {names}"
    return Answer(event.status_code, {name.decode(): value.decode() for name, value in event.headers}, body)
