"""Texts of any script come back as they were sent, and what UTF-8 cannot hold is refused by its field."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.devices import sign_in

if TYPE_CHECKING:
    import httpx

    from tests.support.devices import Device
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

HALVES = ("half \ud83d", "\udc4d", "\ud83d\ud83d", "\udc4d\ud83d")
"""Texts with unpaired surrogates: UTF-16 that was cut in an emoji."""

BLOCK = 0x800
"""Code points that are sent in one text."""

NOT_STORED = {0, *range(0xD800, 0xE000)}


async def post(http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
    # httpx writes UTF-8 itself, which has no unpaired surrogates.
    headers = {"Content-Type": "application/json"}
    return await http.request(method, path, content=json.dumps(body), headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/api/messages", {"to": "zoe", "text": "{}"}, "text"),
        ("POST", "/api/messages", {"to": "{}", "text": "x"}, "to"),
        ("POST", "/api/messages", {"to": "zoe", "text": "x", "media_url": "https://a.example/{}"}, "media_url"),
        ("POST", "/api/messages", {"to": "zoe", "text": "x", "client_id": "{}"}, "client_id"),
        ("PATCH", "/api/chats/1/messages/1", {"text": "{}"}, "text"),
        ("POST", "/api/groups", {"group_name": "{}", "members": []}, "group_name"),
        ("POST", "/api/groups", {"group_name": "x", "members": ["zoe", "{}"]}, "members[1]"),
        ("PATCH", "/api/users/me", {"username": "{}"}, "username"),
        ("PATCH", "/api/users/me", {"profile_picture_url": "https://a.example/{}"}, "profile_picture_url"),
        ("POST", "/api/auth/code", {"phone_number": "{}"}, "phone_number"),
        (
            "POST",
            "/api/auth/session",
            {"phone_number": "+14155550100", "code": "1", "device_name": "{}"},
            "device_name",
        ),
    ],
)
async def test_half_a_character_and_nul_are_refused_in_each_field(
    process: ServerProcess, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    zoe = await sign_in(process)
    async with zoe.http(process) as http:
        for wrong in (*HALVES, "a\x00b"):
            filled = json.loads(json.dumps(body).replace("{}", json.dumps(wrong)[1:-1]))
            answer = await post(http, method, path, filled)
            assert answer.status_code == 422, (wrong, answer.text)
            assert (answer.json()["code"], answer.json()["errors"][0]["path"]) == ("validation_failed", field)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/users?username=%ED%A0%BD", 400),
        ("/api/users?username=%FF", 400),
        ("/api/users?username=a%00b", 422),
        ("/api/users?phone_number=%ED%A0%BD", 400),
        ("/api/users?%ED%A0%BD=a", 400),
        ("/api/chats?cursor=%FF", 400),
        ("/api/messages?since=%FF", 400),
        ("/api/chats/%ED%A0%BD", 400),
        ("/api/users/%FF", 400),
        ("/api/%FF", 400),
    ],
)
async def test_an_address_that_is_no_utf8_is_refused(process: ServerProcess, path: str, status: int) -> None:
    zoe = await sign_in(process)
    async with zoe.http(process) as http:
        answer = await http.get(path)
    assert answer.status_code == status, answer.text
    assert answer.json()["request_id"]


async def test_a_frame_with_half_a_character_is_refused_by_its_id_and_the_connection_goes_on(
    process: ServerProcess,
) -> None:
    zoe = await sign_in(process)
    async with zoe.socket(process) as socket:
        for wrong in (*HALVES, "a\x00b"):
            refused = await socket.message(wrong, to=zoe.phone_number)
            assert (refused["type"], refused["code"]) == ("error", "validation_failed")
            assert refused["detail"].startswith("text: ")
        long_id = "7" * 100
        await socket.send(type="send", id=long_id, to=zoe.phone_number, text="x")
        assert (await socket.of_type("error", id=long_id))["code"] == "bad_frame"
        assert (await socket.message("whole", to=zoe.phone_number))["type"] == "ack"


async def send_by_rest(zoe: Device, process: ServerProcess, texts: list[str]) -> None:
    async with zoe.http(process) as http:
        for number, text in enumerate(texts):
            # As clients write it: in UTF-8, or escaped.
            content = json.dumps({"to": zoe.phone_number, "text": text}, ensure_ascii=number % 2 == 0).encode()
            answer = await http.post("/api/messages", content=content)
            assert answer.status_code == 200, (number, answer.text)


async def test_every_character_comes_back_as_it_was_sent(process: ServerProcess) -> None:
    zoe = await sign_in(process)
    other = await sign_in(process, phone_number=zoe.phone_number)
    everything = [chr(point) for point in range(0x110000) if point not in NOT_STORED]
    # Planes without characters by a part of them.
    everything = everything[:0x20000] + everything[0x20000::0x20]
    texts = ["".join(everything[start : start + BLOCK]) for start in range(0, len(everything), BLOCK)]
    async with other.socket(process) as reader, zoe.socket(process) as writer:
        half = len(texts) // 2
        await send_by_rest(zoe, process, texts[:half])
        for number, text in enumerate(texts[half:]):
            frame = {"type": "send", "id": str(uuid.uuid4()), "to": zoe.phone_number, "text": text}
            await writer.connection.send(json.dumps(frame, ensure_ascii=number % 2 == 0))
            await writer.of_type("ack", id=frame["id"])
        told: list[str] = []
        async with asyncio.timeout(30):
            while len(told) < len(texts):
                frame = json.loads(await reader.connection.recv())
                if frame["type"] == "message":
                    told.append(frame["message"]["text"])
    assert told == texts
    fetched: list[str] = []
    async with zoe.http(process) as http:
        since: dict[str, str] = {}
        while len(fetched) < len(texts):
            answer = await http.get("/api/messages", params={"limit": 1000, **since})
            assert answer.json(), len(fetched)
            fetched += [row["text"] for row in answer.json()]
            since = {"since": answer.headers["X-Next-Since"]}
    assert fetched == texts
