"""What a real server answers is what its published documents say: every status, header, body and frame."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from chatserver.events import EVENTS
from chatserver.routes import CALLS
from chatserver.storage.database import single_connection
from tests.support.cookies import Cookie, sign_in_with_cookie
from tests.support.devices import sign_in
from tests.support.passing import let_pass
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

CLIENT_ID = "3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11"
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
NOWHERE = {"GET /nowhere", "PUT /api/messages"}
"""Requests to no call of the document."""

MOVED = "+14155559997"
"""The number to which one of them changes."""


@pytest.fixture(scope="module")
def openapi(process: ServerProcess) -> dict[str, Any]:
    return fetch(process, "/openapi.json")


@pytest.fixture(scope="module")
def asyncapi(process: ServerProcess) -> dict[str, Any]:
    return fetch(process, "/asyncapi.json")


def fetch(process: ServerProcess, path: str) -> dict[str, Any]:
    answer = httpx.get(f"{process.url}{path}", verify=NO_TLS, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


def closed(schemas: dict[str, Any], *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schemas without room for fields that they do not name."""
    return {
        name: schema if "properties" not in schema or name in but else {**schema, "additionalProperties": False}
        for name, schema in schemas.items()
    }


class Walk:
    """Asks, and compares each answer with the document.

    Attributes:
        seen: (method, path of the document, status) of every answer.
        events: `event` of the details of all rows in answers.
    """

    def __init__(self, openapi: dict[str, Any], http: httpx.AsyncClient) -> None:
        self._openapi = openapi
        self._http = http
        self._components = {**openapi["components"], "schemas": closed(openapi["components"]["schemas"])}
        self.seen: set[tuple[str, str, int]] = set()
        self.events: set[str] = set()

    def operation(self, method: str, path: str) -> tuple[str, dict[str, Any]]:
        """Return the template and the operation that a request is for; an exact path goes first."""
        for template, item in sorted(self._openapi["paths"].items(), key=lambda known: known[0].count("{")):
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path) and method.lower() in item:
                return template, item[method.lower()]
        raise AssertionError(f"{method} {path} is not in the document")

    async def ask(self, method: str, path: str, status: int, code: str | None = None, **options: Any) -> httpx.Response:
        """Ask and return the answer, which must have this status, and this code as a problem."""
        answer = await self._http.request(method, path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        if f"{method} {path}" in NOWHERE:
            schema: dict[str, Any] = {"$ref": "#/components/schemas/Problem"}
            media = "application/problem+json"
            headers: set[str] = set()
        else:
            template, operation = self.operation(method, answer.request.url.path)
            self.seen.add((method, template, status))
            assert str(status) in operation["responses"], f"{method} {template} does not document {status}"
            described = operation["responses"][str(status)]
            if "$ref" in described:
                described = self._openapi["components"]["responses"][described["$ref"].rpartition("/")[2]]
            headers = set(described["headers"]) - {"Retry-After", "Set-Cookie"}
            if "content" not in described:
                assert answer.content == b""
                assert headers <= {name.title() for name in answer.headers} | {"ETag"}
                return answer
            ((media, content),) = described["content"].items()
            schema = content["schema"]
        assert answer.headers["Content-Type"] == media
        for header in headers:
            assert answer.headers.get(header), f"{method} {path}: no {header}"
        body = answer.json() if media.endswith("json") else answer.text
        if isinstance(body, list):
            self.events |= {row["detail"]["event"] for row in body if row.get("detail")}
        Draft202012Validator({**schema, "components": self._components}).validate(body)
        assert code is None or answer.json()["code"] == code
        return answer


async def test_every_answer_is_as_documented(process: ServerProcess, openapi: dict[str, Any]) -> None:
    ana, ben, eve = await sign_in(process, "ana"), await sign_in(process, "ben"), await sign_in(process, "eve")
    laptop = await sign_in(process, phone_number=ana.phone_number)
    async with (
        ana.http(process) as http,
        laptop.http(process) as http_laptop,
        httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as stranger,
        ben.http(process) as http_ben,
        eve.http(process) as http_eve,
    ):
        walk, others, benny, evey = (
            Walk(openapi, http),
            Walk(openapi, stranger),
            Walk(openapi, http_ben),
            Walk(openapi, http_eve),
        )
        logged_out = Walk(openapi, http_laptop)
        await walk_signing_in(others)
        await walk_unauthenticated(others, await sign_in_with_cookie(stranger, "+14155550199"))
        await walk.ask("GET", "/api/users/me", 200)
        await walk.ask("PATCH", "/api/users/me", 200, json={"profile_picture_url": "https://example.com/ana.jpg"})
        await walk.ask("PATCH", "/api/users/me", 422, "username_taken", json={"username": "BEN"})
        await walk.ask("PATCH", "/api/users/me", 422, "validation_failed", json={"username": "a b"})
        await walk.ask("GET", "/api/users", 200, params={"username": "ben"})
        await walk.ask("GET", "/api/users", 404, "user_not_found", params={"username": "nobody"})
        await walk.ask("GET", "/api/users", 422, "validation_failed")
        await walk.ask("GET", f"/api/users/{ben.user_id}", 200)
        await walk.ask("GET", "/api/users/999999", 404, "user_not_found")
        await walk.ask("GET", "/api/devices", 200)
        await walk.ask("POST", "/api/ws-ticket", 201)

        chat_id, seq = await walk_messages(walk, benny)
        await walk_changes(walk, benny, evey, f"/api/chats/{chat_id}/messages/{seq}", ben.user_id)
        await walk_groups(walk, benny, evey, ben.user_id, eve.user_id)
        await walk_own(walk, benny, f"/api/chats/{chat_id}", seq)
        for path in ("/api/chats", "/api/chats?limit=1", f"/api/chats/{chat_id}"):
            await walk.ask("GET", path, 200)
        await walk.ask("GET", "/api/chats/999999", 404, "chat_not_found")
        await walk.ask("GET", "/api/chats?limit=0", 422, "validation_failed")
        await walk.ask("GET", "/api/chats/999999/messages", 404, "chat_not_found")
        history = await walk.ask("GET", f"/api/chats/{chat_id}/messages", 200)
        assert {row["kind"] for row in history.json()} >= {"message", "edit", "reaction"}
        await walk.ask("POST", "/api/receipts", 204, json={"chats": {str(chat_id): {"read_seq": 1}}})
        await walk.ask("POST", "/api/receipts", 422, json={"chats": {str(chat_id): {"read_seq": -1}}})

        for path in ("/livez", "/readyz", "/readyz?exclude=database", "/openapi.json", "/asyncapi.json", "/docs"):
            answer = await others.ask("GET", path, 200)
            if "ETag" in answer.headers:
                await others.ask("GET", path, 304, headers={"If-None-Match": answer.headers["ETag"]})
        await others.ask("GET", "/readyz?exclude=all", 422, "validation_failed")
        await others.ask("GET", "/api/ws", 426, "upgrade_required")
        await others.ask("GET", "/api/ws?token=1", 422, "validation_failed", headers=HANDSHAKE)
        await others.ask("GET", "/nowhere", 404, "not_found")
        await walk.ask("PUT", "/api/messages", 405, "method_not_allowed")

        async with single_connection(lambda: process.dsn, "test") as connection:
            await let_pass(connection, 120)
        assert await walk_events(walk, benny, others, MOVED) == set(EVENTS)
        await walk.ask("DELETE", "/api/devices/999999", 404, "device_not_found")
        await logged_out.ask("DELETE", "/api/auth/session", 204)
        await walk.ask(
            "DELETE", f"/api/devices/{(await sign_in(process, phone_number=ana.phone_number)).device_id}", 204
        )
        await evey.ask("DELETE", "/api/users/me", 204)
        await evey.ask("GET", "/api/users/me", 401, "unauthenticated")

    seen = set().union(*(one.seen for one in (walk, others, benny, evey, logged_out)))
    walked = {(method, path) for method, path, status in seen if status < 400}
    assert walked == {(call.method, call.path) for call in CALLS} - {("GET", "/api/ws")}


async def walk_unauthenticated(walk: Walk, page: Cookie) -> None:
    """Make each call without a token, and from another page with the cookie of one."""
    foreign = {"Cookie": page.pair, "Sec-Fetch-Site": "cross-site"}
    for call in CALLS:
        if call.signed_in:
            path = re.sub(r"\{\w+\}", "1", call.path)
            await walk.ask(call.method, path, 401, "unauthenticated")
            await walk.ask(call.method, path, 403, "forbidden", headers=foreign)


async def walk_signing_in(walk: Walk) -> None:
    number = "+14155559876"
    made = await walk.ask("POST", "/api/auth/code", 202, json={"phone_number": number})
    await walk.ask("POST", "/api/auth/code", 400, "bad_request", content=b"{")
    await walk.ask("POST", "/api/auth/code", 413, "too_large", content=b"x" * 1_000_000)
    await walk.ask("POST", "/api/auth/code", 422, "validation_failed", json={"phone_number": "1"})
    signing_in = {"phone_number": number, "code": made.json()["dev_code"]}
    wrong = "000000" if signing_in["code"] != "000000" else "000001"
    await walk.ask("POST", "/api/auth/session", 401, "invalid_code", json={**signing_in, "code": wrong})
    await walk.ask("POST", "/api/auth/session", 422, "username_taken", json={**signing_in, "username": "ana"})
    await walk.ask("POST", "/api/auth/session", 422, "validation_failed", json={**signing_in, "user": "x"})
    foreign = {"Origin": "https://evil.example"}
    await walk.ask("POST", "/api/auth/session", 403, "forbidden", json={**signing_in, "cookie": True}, headers=foreign)
    await walk.ask("POST", "/api/auth/session", 201, json=signing_in)


async def walk_messages(walk: Walk, benny: Walk) -> tuple[int, int]:
    first = {"to": "ben", "text": "hello", "client_id": CLIENT_ID}
    sent = (await walk.ask("POST", "/api/messages", 200, json=first)).json()
    assert (await walk.ask("POST", "/api/messages", 200, json=first)).json()["duplicate"]
    await walk.ask("POST", "/api/messages", 409, "idempotency_conflict", json={**first, "text": "bye"})
    await walk.ask("POST", "/api/messages", 400, "bad_request", content=b"{")
    await walk.ask("POST", "/api/messages", 404, "user_not_found", json={"to": "nobody", "text": "x"})
    await walk.ask("POST", "/api/messages", 404, "chat_not_found", json={"chat_id": 10**15, "text": "x"})
    await walk.ask("POST", "/api/messages", 413, "too_large", content=b"x" * 1_000_000)
    await walk.ask("POST", "/api/messages", 422, "validation_failed", json={"to": "ben", "text": ""})
    picture = {"chat_id": sent["chat_id"], "type": "image", "media_url": "https://example.com/cat.jpg", "reply_to": 1}
    await walk.ask("POST", "/api/messages", 200, json=picture)
    polled = await benny.ask("GET", "/api/messages?events=true&wait=1&limit=5", 200)
    assert [row["seq"] for row in polled.json()] == [1, 2]
    await benny.ask("GET", "/api/messages", 200, params={"since": polled.headers["X-Next-Since"]})
    await benny.ask("GET", "/api/messages?wait=61", 422, "validation_failed")
    await benny.ask("GET", "/api/messages?since=%21", 422, "validation_failed")
    return sent["chat_id"], sent["seq"]


async def walk_changes(walk: Walk, benny: Walk, evey: Walk, message: str, ben_id: int) -> None:
    await walk.ask("PATCH", message, 200, json={"text": "hello again"})
    await walk.ask("PATCH", message, 422, "validation_failed", json={"text": ""})
    await benny.ask("PATCH", message, 403, "forbidden", json={"text": "not mine"})
    await evey.ask("PATCH", message, 404, "chat_not_found", json={"text": "not my chat"})
    await walk.ask("PATCH", f"{message}99", 404, "message_not_found", json={"text": "none"})
    reaction = f"{message}/reactions/%F0%9F%91%8D"
    await benny.ask("PUT", reaction, 200)
    await benny.ask("PUT", f"{message}/reactions/x", 422, "validation_failed")
    await benny.ask("DELETE", reaction, 200)
    await benny.ask("PUT", reaction, 200)
    await benny.ask("DELETE", message, 403, "forbidden")
    await benny.ask("DELETE", f"{message}?for=him", 422, "validation_failed")
    await benny.ask("DELETE", f"{message}?for=me", 200)

    await walk.ask("PUT", f"/api/blocks/{ben_id}", 200)
    await walk.ask("GET", "/api/blocks", 200)
    await walk.ask("PUT", "/api/blocks/999999", 404, "user_not_found")
    await walk.ask("PUT", "/api/blocks/0", 422, "validation_failed")
    await benny.ask("POST", "/api/messages", 403, "blocked", json={"to": "ana", "text": "x"})
    await benny.ask("PUT", f"{message[: message.rindex('/')]}/2/reactions/%F0%9F%91%8D", 403, "blocked")
    await walk.ask("DELETE", f"/api/blocks/{ben_id}", 200)
    await walk.ask("DELETE", message, 200)


async def walk_own(ana: Walk, ben: Walk, chat: str, seq: int) -> None:
    for body in ({"muted_until": "2099-01-01T00:00:00Z", "pinned": True}, {}, {"muted_until": None, "archived": True}):
        await ben.ask("PATCH", chat, 200, json=body)
    await ben.ask("PATCH", chat, 422, "validation_failed", json={"muted_until": "2099-01-01T00:00:00"})
    await ben.ask("PATCH", "/api/chats/999999", 404, "chat_not_found", json={"archived": True})
    await ana.ask("GET", f"{chat}/messages/{seq}/info", 200)
    sent = (await ana.ask("POST", "/api/messages", 200, json={"to": "ben", "text": "star"})).json()
    await ben.ask("GET", f"{chat}/messages/{sent['seq']}/info", 403, "forbidden")
    await ben.ask("PATCH", "/api/users/me/privacy", 200, json={"about": "nobody"})
    await ben.ask("PATCH", "/api/users/me/privacy", 422, "validation_failed", json={"about": "friends"})
    await ben.ask("GET", "/api/users/me/privacy", 200)
    moved = {"phone_number": MOVED, "code": "000000"}
    await ben.ask("PUT", "/api/users/me/phone_number", 401, "invalid_code", json=moved)
    made = (await ben.ask("POST", "/api/auth/code", 202, json={"phone_number": MOVED})).json()
    await ben.ask("PUT", "/api/users/me/phone_number", 200, json={**moved, "code": made["dev_code"]})
    await ben.ask("GET", "/api/users/me/export", 200)
    pin = {"pin": "482915"}
    await ben.ask("PUT", "/api/users/me/pin", 422, "validation_failed", json={"pin": "12345"})
    await ben.ask("PUT", "/api/users/me/pin", 204, json=pin)
    await ben.ask("PUT", "/api/users/me/pin", 401, "pin_required", json={"pin": None})
    await ben.ask("PUT", "/api/users/me/pin", 401, "invalid_pin", json={"pin": None, "current_pin": "482916"})
    await ben.ask("PUT", "/api/users/me/pin", 204, json={"pin": None, "current_pin": "482915"})
    book = {"phone_numbers": ["+14155559998", "reception"], "usernames": ["ana", "a b"], "user_ids": [1, 2**60]}
    found = (await ben.ask("POST", "/api/users/lookup", 200, json=book)).json()
    assert [error["path"] for error in found["errors"]] == ["phone_numbers[1]"]
    await ben.ask("POST", "/api/users/lookup", 422, "validation_failed", json={"user_ids": [0]})
    star = f"{chat}/messages/{sent['seq']}/star"
    await ben.ask("PUT", star, 200)
    assert (await ben.ask("GET", "/api/stars", 200)).json()["stars"]
    await ben.ask("GET", "/api/stars?limit=0", 422, "validation_failed")
    await ben.ask("DELETE", star, 200)
    await ben.ask("PUT", f"{chat}/messages/999999/star", 404, "message_not_found")
    await ben.ask("POST", f"{chat}/clear", 422, "validation_failed", json={})
    await ben.ask("PUT", f"{chat}/timer", 422, "validation_failed", json={"seconds": 59})
    await ben.ask("PUT", f"{chat}/timer", 200, json={"seconds": 60})
    await ana.ask("POST", "/api/messages", 200, json={"to": "ben", "text": "passing"})
    await ben.ask("PUT", f"{chat}/timer", 200, json={"seconds": None})
    await ben.ask("POST", f"{chat}/clear", 200, json={"up_to_seq": 1})


async def walk_groups(walk: Walk, benny: Walk, evey: Walk, ben_id: int, eve_id: int) -> None:
    made = (await walk.ask("POST", "/api/groups", 201, json={"group_name": "Team", "members": ["ben"]})).json()
    group = f"/api/groups/{made['group_id']}"
    members = {"group_name": "Team", "members": ["ben", "nobody"]}
    await walk.ask("POST", "/api/groups", 404, "user_not_found", json=members)
    await walk.ask("POST", "/api/groups", 422, "validation_failed", json={"members": []})
    await walk.ask("PATCH", group, 200, json={"group_name": "The team"})
    picture = {"picture_url": "https://example.com/team.png", "description": "Ours", "who_may_edit": "everyone"}
    await walk.ask("PATCH", group, 200, json=picture)
    await walk.ask("PATCH", group, 200, json={"description": None, "who_may_edit": "admins", "who_may_add": "admins"})
    await walk.ask("PATCH", group, 422, "validation_failed", json={"description": "x" * 2001})
    await benny.ask("PATCH", group, 403, "not_an_admin", json={"group_name": "Ben's"})
    await evey.ask("PATCH", group, 404, "chat_not_found", json={"group_name": "Eve's"})
    invite = (await walk.ask("POST", f"{group}/invites", 201, json={"max_uses": 3})).json()
    await walk.ask("POST", f"{group}/invites", 422, "validation_failed", json={"expires_in": 1})
    await benny.ask("POST", f"{group}/invites", 403, "not_an_admin", json={})
    await walk.ask("GET", f"{group}/invites", 200)
    await evey.ask("POST", "/api/invites/preview", 200, json={"code": invite["code"]})
    await evey.ask("POST", "/api/invites/join", 200, json={"code": invite["code"]})
    await evey.ask("POST", "/api/invites/join", 200, json={"code": invite["code"]})
    await evey.ask("DELETE", f"{group}/members/{eve_id}", 200)
    await walk.ask("DELETE", f"{group}/invites/{invite['invite_id']}", 204)
    await evey.ask("POST", "/api/invites/preview", 404, "invite_not_found", json={"code": invite["code"]})
    await evey.ask("POST", "/api/invites/join", 404, "invite_not_found", json={"code": invite["code"]})
    await walk.ask("POST", f"{group}/members/{eve_id}", 200)
    await walk.ask("POST", f"{group}/members/999999", 404, "user_not_found")
    await walk.ask("PUT", f"{group}/members/{ben_id}/role", 200, json={"role": "admin"})
    await walk.ask("PUT", f"{group}/members/{ben_id}/role", 422, "validation_failed", json={"role": "king"})
    await walk.ask("DELETE", f"{group}/members/{eve_id}", 200)
    await walk.ask("DELETE", f"{group}/members/{eve_id}", 200)
    await walk.ask("DELETE", f"{group}/members/999999", 404, "user_not_found")
    await evey.ask("POST", "/api/messages", 403, "not_a_member", json={"chat_id": made["chat_id"], "text": "x"})
    await benny.ask("DELETE", f"{group}/members/{ben_id}", 200)
    await walk.ask("GET", f"/api/chats/{made['chat_id']}", 200)
    await evey.ask("GET", f"/api/chats/{made['chat_id']}", 200)


async def walk_events(walk: Walk, benny: Walk, others: Walk, number: str) -> set[str]:
    """Fetch all rows, and return which events they record."""
    code = (await others.ask("POST", "/api/auth/code", 202, json={"phone_number": number})).json()["dev_code"]
    wrong = {"phone_number": number, "code": "000000" if code != "000000" else "000001"}
    await others.ask("POST", "/api/auth/session", 401, "invalid_code", json=wrong)
    for reader in (walk, benny):
        await reader.ask("GET", "/api/messages?events=true&limit=1000", 200)
    while "expire" not in walk.events:
        await walk.ask("GET", "/api/messages?events=true&limit=1000", 200)
    return walk.events | benny.events


async def test_each_call_documents_the_parameters_that_it_knows(
    process: ServerProcess, openapi: dict[str, Any]
) -> None:
    """A refused parameter's problem lists the known ones; a call without a query says nothing of it."""
    ana = await sign_in(process, "query")
    async with ana.http(process) as http:
        for template, item in openapi["paths"].items():
            for method, operation in item.items():
                documented = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
                if not documented and method != "get":
                    continue
                path = re.sub(r"\{\w+\}", "1", template)
                answer = await http.request(method, path, params={"zzz": 1}, headers=HANDSHAKE)
                said = re.search(r"this call takes ([\w, ]+)", answer.text)
                known = set(said[1].split(", ")) - {"none"} if said else set()
                assert documented == known, f"{method} {template}"


async def test_a_dead_database_is_a_documented_answer(
    read_dsn: Callable[[], str], postgres: Any, openapi: dict[str, Any]
) -> None:
    with ServerProcess(read_dsn(), "one") as alone:
        alone.wait_ready()
        ana = await sign_in(alone, "ana")
        async with ana.http(alone) as http:
            walk = Walk(openapi, http)
            postgres.stop()
            try:
                # Probes share one look at the database for a second.
                while (await http.get("/readyz")).status_code == 200:
                    await asyncio.sleep(0.1)
                for path in ("/api/users/me", "/api/chats", "/readyz"):
                    answer = await walk.ask("GET", path, 503, "unavailable")
                    assert int(answer.headers["Retry-After"]) > 0
            finally:
                postgres.start()


async def test_every_frame_is_as_documented(process: ServerProcess, asyncapi: dict[str, Any]) -> None:
    fay, gus = await sign_in(process, "fay"), await sign_in(process, "gus")
    schemas = closed(asyncapi["components"]["schemas"], but=("EventFrame",))
    sent = asyncapi["operations"]["sendFrames"]["messages"]
    names = {message["$ref"].rpartition("/")[2] for message in sent}
    payloads = {
        asyncapi["components"]["messages"][name]["name"]: asyncapi["components"]["messages"][name]["payload"]
        for name in names
    }
    async with fay.socket(process) as one, gus.socket(process) as two:
        chat_id = (await one.message("hello", to="gus"))["chat_id"]
        await two.text("hello")
        await two.send(type="read", chat_id=chat_id, seq=1)
        await one.of_type("receipt", user_id=gus.user_id, read_seq=1)
        await two.send(type="typing", chat_id=chat_id)
        await one.of_type("typing")
        await one.send(type="subscribe", user_ids=[gus.user_id])
        await one.of_type("presence")
        await one.send(type="sync", chats={})
        await one.of_type("synced")
        await one.send(type="ping")
        await one.of_type("pong")
        assert (await one.message("nobody hears", to="nobody"))["type"] == "error"
        async with fay.http(process) as http:
            await http.patch(f"/api/chats/{chat_id}/messages/1", json={"text": "hello again"})
            await http.post("/api/groups", json={"group_name": "Two", "members": ["gus"]})
            await http.patch("/api/users/me", json={"profile_picture_url": "https://example.com/fay.png"})
        await two.of_type("profile", user_id=fay.user_id)
        await two.until(lambda frame: frame.get("kind") == "edit")
        await two.until(lambda frame: frame.get("kind") == "group")
        frames = one.frames + two.frames
        fetched: dict[tuple[int, int], Any] = {}
        async with gus.http(process) as http:
            for row in (await http.get("/api/messages", params={"events": "true"})).json():
                fetched[row["chat_id"], row["seq"]] = row["detail"]
    events = [frame for frame in frames if frame["type"] == "event"]
    for event in events:
        assert event["detail"] == fetched[event["chat_id"], event["seq"]]
        # As clients of earlier versions read it.
        assert event.items() >= {name: said for name, said in event["detail"].items() if name != "event"}.items()
    assert {event["detail"]["event"] for event in events} >= {"edit", "group.created"}
    for frame in frames:
        Draft202012Validator({**payloads[frame["type"]], "components": {"schemas": schemas}}).validate(frame)
    assert {frame["type"] for frame in frames} == set(payloads) - {"reconnect"}
