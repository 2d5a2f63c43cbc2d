"""Every limit that the server publishes holds at, below and above its value, however a client writes its characters.

The limits are read from the OpenAPI and AsyncAPI documents, so that a new one that has no test here fails.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from chatserver import bounds, protocol
from chatserver.routes import MAX_BODY_BYTES
from tests.support.devices import Device, Socket, sign_in
from tests.support.front import in_front
from tests.support.published import Limit, published

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

SCRIPTS = {"ASCII": "a", "Cyrillic": "я", "pairs of surrogates": "👍", "combining marks": "e\u0301"}
LIMITS = [limit for limit in published() if limit.value > 0 or limit.keyword == "minimum"]
LARGE = [limit for limit in LIMITS if limit.keyword == "maxLength" and limit.value == bounds.TEXT_MAX_CHARS]

NO_REPLY = "must be the seq of a message"
NO_CURSOR = "nobody can make one up, and the server's own are far below"
SHORT_NUMBER = "the shortest number of any country is longer"
WRONG_CODE = "one of another length is a wrong one, and 401 like it"
NOT_TRIED = {
    "POST /api/auth/code body phone_number minLength": SHORT_NUMBER,
    "POST /api/auth/session body phone_number minLength": SHORT_NUMBER,
    "GET /api/users query phone_number minLength": SHORT_NUMBER,
    "PUT /api/users/me/phone_number body phone_number minLength": SHORT_NUMBER,
    "PUT /api/users/me/phone_number body code maxLength": WRONG_CODE,
    "PUT /api/users/me/phone_number body code minLength": WRONG_CODE,
    "PUT /api/users/me/phone_number body code_id maxLength": WRONG_CODE,
    "PUT /api/users/me/phone_number body code_id minLength": WRONG_CODE,
    **{
        f"{call} body {pin} {keyword}": "a wrong one, and 401 like it, if there is one at all"
        for call, pin in (
            ("POST /api/auth/session", "pin"),
            ("PUT /api/users/me/phone_number", "pin"),
            ("PUT /api/users/me/pin", "current_pin"),
        )
        for keyword in ("minLength", "maxLength")
    },
    # Once one is set, the next needs the current one: test_pins.py.
    "PUT /api/users/me/pin body pin minLength": "needs a new account for each",
    "PUT /api/users/me/pin body pin maxLength": "needs a new account for each",
    "POST /api/auth/session body code maxLength": WRONG_CODE,
    "POST /api/auth/session body code minLength": WRONG_CODE,
    "POST /api/auth/session body code_id maxLength": WRONG_CODE,
    "POST /api/auth/session body code_id minLength": WRONG_CODE,
    "GET /api/users query username minLength": "an empty parameter counts as missing",
    "GET /api/messages query since maxLength": NO_CURSOR,
    "GET /api/chats query cursor maxLength": NO_CURSOR,
    "GET /api/chats query changed_since maxLength": NO_CURSOR,
    "GET /api/stars query cursor maxLength": NO_CURSOR,
}

HEAD_BYTES = 8191 + len(b"\r\n\r\n")
"""Of the line with the address and of all headers: less than 8 KiB before the empty line at their end."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """Who tries: with a message in a chat of their own, and a group."""

    device: Device
    chat_id: int
    group_id: int


@pytest.fixture
async def person(process: ServerProcess) -> Person:
    # Who has the lowest ids is not who tries them.
    for _ in range(2):
        await sign_in(process)
    device = await sign_in(process)
    async with device.http(process) as http:
        sent = await http.post("/api/messages", json={"to": device.phone_number, "text": "notes"})
        made = await http.post("/api/groups", json={"group_name": "Group", "members": []})
    return Person(device, sent.json()["chat_id"], made.json()["group_id"])


def text_of(limit: Limit, length: int, script: str = "a") -> str:
    """Return a text of so many characters that is right in all else."""
    name = next(part for part in reversed(limit.field) if part != "[]")
    match name:
        case "phone_number":
            return ("+1" + f"415{next(_numbers):07}".rjust(length - 2))[:length]
        case "code":
            return "0" * length
        case "client_id" | "id":
            return (str(uuid.uuid4()) + "0" * length)[:length]
        case "emoji":
            # The longest that there is has ten.
            kiss = "👩🏽\u200d❤️\u200d💋\u200d👩🏿"
            return "👍" * length if length <= 1 or (limit.is_most and length > limit.value) else kiss
        case "media_url" | "profile_picture_url" | "picture_url":
            return ("http://" + (script * length))[:length]
        case _:
            return (script * length)[:length]


def value_of(limit: Limit, size: int, script: str = "a") -> Any:
    """Return a value of the field, of so much as the limit counts."""
    match limit.keyword:
        case "maxLength" | "minLength":
            return text_of(limit, size, script)
        case "maxItems" if limit.field[-1] in {"members", "usernames", "phone_numbers"}:
            return [f"nobody{number}" for number in range(size)]
        case "maxItems":
            return list(range(1, size + 1))
        case "maxProperties":
            return {str(number): {} if limit.place == "body" else 0 for number in range(1, size + 1)}
        case _:
            return size


def put(body: dict[str, Any], field: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a body with a value at a field."""
    name, *rest = field
    if not rest:
        return body | {name: value}
    if rest[0] == "[]":
        return body | {name: [value]}
    assert rest[0] == "*"
    return body | {name: {"1": value if len(rest) == 1 else put({}, tuple(rest[1:]), value)}}


def body_of(limit: Limit, person: Person) -> dict[str, Any]:
    """Return a body that lacks nothing beside the field of the limit."""
    bodies: dict[str, dict[str, Any]] = {
        "POST /api/auth/session": {"phone_number": "+14155559999", "code": "000000"},
        "PUT /api/users/me/phone_number": {"phone_number": "+14155559999", "code": "000000"},
        "POST /api/groups": {"group_name": "Group", "members": []},
        "PUT /api/groups/{group_id}/members/{user_id}/role": {"role": "admin"},
        "PATCH /api/groups/{group_id}": {"group_name": "Group"},
        "POST /api/groups/{group_id}/invites": {"max_uses": 1},
        "PATCH /api/chats/{chat_id}/messages/{seq}": {"text": "x"},
        "PATCH /api/chats/{chat_id}": {"archived": True},
        "POST /api/chats/{chat_id}/clear": {"up_to_seq": 1},
        "PUT /api/chats/{chat_id}/timer": {"seconds": 86_400},
    }
    if limit.call != "POST /api/messages":
        return bodies.get(limit.call, {})
    if limit.field in {("to",), ("chat_id",)}:
        return {"text": "x"}
    return {"chat_id": person.chat_id} | ({"type": "image"} if limit.field == ("media_url",) else {"text": "x"})


def frame_of(limit: Limit, person: Person) -> dict[str, Any]:
    """Return a frame that lacks nothing beside the field of the limit."""
    kind = limit.call.removeprefix("frame ")
    frame: dict[str, Any] = {"type": kind}
    if kind == "send":
        frame |= {"id": str(uuid.uuid4()), "text": "x"}
        if limit.field not in {("to",), ("chat_id",)}:
            frame["chat_id"] = person.chat_id
        if limit.field == ("media_url",):
            frame["message_type"] = "image"
    if kind in {"delivered", "read"}:
        frame |= {"chat_id": person.chat_id, "seq": 1}
    return frame


class ByRest:
    """Makes calls at the edge of a limit."""

    def __init__(self, http: httpx.AsyncClient, person: Person) -> None:
        self._http, self._person = http, person

    async def complains(self, limit: Limit, size: int, script: str = "a", *, escaped: bool = False) -> bool:
        """Return whether the server refuses the field for its value."""
        method, path = limit.call.split()
        value = value_of(limit, size, script)
        known = {"chat_id": self._person.chat_id, "group_id": self._person.group_id, "seq": 1, "emoji": "👍"}
        known |= {"user_id": 2**40, "device_id": 2**40, "invite_id": 2**40}
        if path.endswith("/clear"):
            # The message is still needed.
            known["chat_id"] = self._person.group_id
        query = {}
        body: dict[str, Any] | None = body_of(limit, self._person) or None
        if limit.place == "path":
            known[limit.field[0]] = value
        elif limit.place == "query":
            query = {limit.field[0]: str(value)}
        else:
            body = put(body or {}, limit.field, value)
        path = path.format(**{name: quote(str(part), safe="") for name, part in known.items()})
        content = None if body is None else json.dumps(body, ensure_ascii=escaped).encode()
        answer = await self._http.request(method, path, params=query, content=content)
        return self._is_complaint(limit, answer)

    @staticmethod
    def _is_complaint(limit: Limit, answer: httpx.Response) -> bool:
        assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, (str(limit), answer.text)
        if answer.status_code == httpx.codes.NOT_FOUND and answer.json()["code"] == "not_found":
            # A path that lacks a part is another one.
            return True
        if answer.status_code not in {400, 413, 422} or not answer.content:
            return False
        problem = answer.json()
        # A reply to what is not there is refused for that.
        if problem["code"] == "username_taken" or (limit.field == ("reply_to",) and NO_REPLY in answer.text):
            return False
        names = {re.split(r"[.\[]", error["path"])[0] for error in problem.get("errors", ())}
        return answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY or limit.field[0] in names


class BySocket:
    """Sends frames at the edge of a limit."""

    def __init__(self, socket: Socket, person: Person) -> None:
        self._socket, self._person = socket, person

    async def complains(self, limit: Limit, size: int, script: str = "a", *, escaped: bool = False) -> bool:
        """Return whether the server refuses the field for its value."""
        frame = put(frame_of(limit, self._person), limit.field, value_of(limit, size, script))
        self._socket.frames.clear()
        await self._socket.connection.send(json.dumps(frame, ensure_ascii=escaped))
        await self._socket.send(type="ping")
        if frame["type"] == "send":
            await self._socket.until(lambda got: got["type"] in {"ack", "error"})
        await self._socket.of_type("pong")
        refusals = [got for got in self._socket.frames if got["type"] == "error"]
        if limit.field == ("reply_to",) and any(NO_REPLY in got["detail"] for got in refusals):
            return False
        return any(got["code"] in {"bad_frame", "bad_json", "validation_failed"} for got in refusals)


@pytest.fixture
async def tried(process: ServerProcess, person: Person) -> AsyncIterator[tuple[ByRest, BySocket]]:
    async with person.device.http(process) as http, person.device.socket(process) as socket:
        yield ByRest(http, person), BySocket(socket, person)


async def judge(tried: tuple[ByRest, BySocket], limit: Limit, size: int, *how: str) -> bool:
    by = tried[1] if limit.place == "frame" else tried[0]
    return await by.complains(limit, size, *how[:1], escaped="escaped" in how)


async def test_each_limit_is_kept_at_below_and_above(tried: tuple[ByRest, BySocket]) -> None:
    wrong = []
    for limit in LIMITS:
        if str(limit) in NOT_TRIED:
            continue
        step = 1 if limit.is_most else -1
        for size, is_refused in ((limit.value + step, True), (limit.value, False), (limit.value - step, False)):
            # What has one length only is wrong at any other.
            is_fixed = limit.field[-1] in {"client_id", "id"} and size != limit.value
            if await judge(tried, limit, size) != (is_refused or is_fixed):
                wrong.append(f"{limit} {limit.value}: {size} is {'taken' if is_refused else 'refused'}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("escaped", ["escaped", "in UTF-8"])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_texts_are_counted_in_characters_however_they_are_written(
    tried: tuple[ByRest, BySocket], script: str, escaped: str
) -> None:
    assert {limit.call for limit in LARGE} == {
        "POST /api/messages", "PATCH /api/chats/{chat_id}/messages/{seq}", "frame send",
    }  # fmt: skip
    for limit in LARGE:
        assert not await judge(tried, limit, limit.value, SCRIPTS[script], escaped), limit
        assert await judge(tried, limit, limit.value + 1, SCRIPTS[script], escaped), limit


async def test_what_is_not_tried_is_published() -> None:
    assert NOT_TRIED.keys() <= {str(limit) for limit in LIMITS}


@pytest.fixture
async def through(process: ServerProcess, tmp_path: Path) -> AsyncIterator[tuple[str, ssl.SSLContext | None]]:
    """The server's address through HAProxy with the operator's configuration."""
    async with in_front(tmp_path, behind=int(process.url.rsplit(":", 1)[1])) as front:
        yield front.https, front.trusting()


async def test_the_largest_texts_bodies_and_frames_pass_haproxy(
    process: ServerProcess, person: Person, through: tuple[str, ssl.SSLContext]
) -> None:
    url, trusting = through
    headers = person.device.headers
    async with (
        httpx.AsyncClient(base_url=url, verify=trusting, headers=headers, timeout=30) as http,
        connect_to(url, trusting, headers) as connection,
    ):
        socket = Socket(connection)
        await socket.of_type("welcome", server=process.name)
        tried = ByRest(http, person), BySocket(socket, person)
        for script in SCRIPTS.values():
            for limit in LARGE:
                assert not await judge(tried, limit, limit.value, script, "escaped"), limit
        await assert_bytes_are_bounded(http, connection, person)


async def test_a_body_and_a_frame_have_so_many_bytes_and_no_more(process: ServerProcess, person: Person) -> None:
    async with person.device.http(process) as http, person.device.socket(process) as socket:
        await assert_bytes_are_bounded(http, socket.connection, person)


def connect_to(url: str, trusting: ssl.SSLContext | None, headers: dict[str, str]) -> connect:
    return connect(
        f"ws{url.removeprefix('http')}/api/ws",
        subprotocols=[Subprotocol("chat.v1")],
        additional_headers=headers,
        ssl=trusting,
        proxy=None,
    )


async def assert_bytes_are_bounded(http: httpx.AsyncClient, connection: ClientConnection, person: Person) -> None:
    body = {"chat_id": person.chat_id, "text": "x"}
    for size, status in ((MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)):
        answer = await http.post("/api/messages", content=json.dumps(body).encode().ljust(size))
        assert answer.status_code == status
    await connection.send(json.dumps({"type": "ping"}).ljust(protocol.MAX_FRAME_BYTES))
    while json.loads(await asyncio.wait_for(connection.recv(), 20))["type"] != "pong":
        pass
    await connection.send(json.dumps({"type": "ping"}).ljust(protocol.MAX_FRAME_BYTES + 1))
    assert await Socket(connection).close_code() == protocol.CLOSE_TOO_LARGE


async def test_the_head_of_a_request_has_so_many_bytes_and_no_more(process: ServerProcess) -> None:
    host, port = process.url.removeprefix("http://").split(":")
    for size, status in ((HEAD_BYTES, b"404"), (HEAD_BYTES + 1, b"413")):
        for start in (b"GET /nosuch HTTP/1.1\r\nHost: chat\r\nX-Long: ", b"GET /nosuch?x="):
            end = b"\r\n\r\n" if b"Host" in start else b" HTTP/1.1\r\nHost: chat\r\n\r\n"
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(start + b"x" * (size - len(start) - len(end)) + end)
            assert (await asyncio.wait_for(reader.readline(), 20)).split()[1] == status, (size, start)
            writer.close()
