"""Every call twice, on two servers: one after the other, and at once. A table over all calls."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatserver.routes import CALLS
from tests.support.devices import Device, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

# first, again: the answers one after the other. "same": also the bodies. "once": only the first has a seq.
# at once: what the two may be, in any order, where it is not just the same two.
TABLE = """
call                                                                  first  again  bodies  at once
POST /api/auth/code                                                   202    429    -
POST /api/auth/session                                                201    401    -
DELETE /api/auth/session                                              204    401    -       204 204
DELETE /api/devices/{device_id}                                       204    204    same
POST /api/ws-ticket                                                   201    201    -
PATCH /api/users/me                                                   200    200    same
PUT /api/users/me/pin                                                 204    204    same
PUT /api/users/me/phone_number                                        200    200    same
POST /api/users/lookup                                                200    200    same
PATCH /api/users/me/privacy                                           200    200    same
DELETE /api/users/me                                                  204    401    -
POST /api/messages                                                    200    200    -
PATCH /api/chats/{chat_id}/messages/{seq}                             200    200    once
DELETE /api/chats/{chat_id}/messages/{seq}                            200    200    once
DELETE /api/chats/{chat_id}/messages/{seq} | for me                   200    200    once
PUT /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}             200    200    once
DELETE /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}          200    200    once
PATCH /api/chats/{chat_id}                                            200    200    once
POST /api/chats/{chat_id}/clear                                       200    200    once
PUT /api/chats/{chat_id}/timer                                        200    200    once
PUT /api/chats/{chat_id}/messages/{seq}/star                          200    200    once
DELETE /api/chats/{chat_id}/messages/{seq}/star                       200    200    once
PUT /api/blocks/{user_id}                                             200    200    once
DELETE /api/blocks/{user_id}                                          200    200    once
DELETE /api/blocks/{user_id} | of a deleted account                   200    200    -
POST /api/receipts                                                    204    204    same
POST /api/groups                                                      201    200    once
POST /api/groups | without a client_id                                201    201    -
PATCH /api/groups/{group_id}                                          200    200    once
POST /api/groups/{group_id}/members/{user_id}                         200    200    once
DELETE /api/groups/{group_id}/members/{user_id}                       200    200    once
DELETE /api/groups/{group_id}/members/{user_id} | leaving             200    200    once
PUT /api/groups/{group_id}/members/{user_id}/role                     200    200    once
PUT /api/groups/{group_id}/members/{user_id}/role | one's own         200    200    once
POST /api/groups/{group_id}/invites                                   201    201    -
DELETE /api/groups/{group_id}/invites/{invite_id}                     204    204    same
POST /api/invites/preview                                             200    200    same
POST /api/invites/join                                                200    200    once
"""
HEAD, *LINES = TABLE.strip().splitlines()
STARTS = [HEAD.index(name) for name in ("call", "first", "again", "bodies", "at once")]
ROWS = {
    cells[0]: cells[1:]
    for line in LINES
    for cells in [[line[a:b].strip() for a, b in zip(STARTS, [*STARTS[1:], None], strict=True)]]
}


@dataclass(frozen=True)
class Pair:
    """Two servers on one database."""

    one: ServerProcess
    two: ServerProcess


@pytest.fixture(scope="module")
def pair(postgres: PostgresCluster, migrated_template: str) -> Iterator[Pair]:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with _ready(dsn, "one") as one, _ready(dsn, "two") as two:
        yield Pair(one, two)


@contextmanager
def _ready(dsn: str, name: str) -> Iterator[ServerProcess]:
    with ServerProcess(dsn, name) as server:
        server.wait_ready()
        yield server


@dataclass(frozen=True)
class Request:
    """A call as it is sent, twice."""

    method: str
    path: str
    token: str | None
    body: dict[str, Any] | None

    async def send(self, server: ServerProcess) -> httpx.Response:
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(
            base_url=server.url, headers=headers, timeout=90, verify=NO_TLS, trust_env=False
        ) as http:
            return await http.request(self.method, self.path, json=self.body)


async def prepare(server: ServerProcess, row: str) -> Request:
    """Make people, a group and a message of the first of them, and whatever else a row needs; return its call."""
    ana, ben, cleo = [await sign_in(server) for _ in range(3)]
    call, _, variant = row.partition(" | ")
    method, _, path = call.partition(" ")
    async with ana.http(server) as http:
        made = await http.post("/api/groups", json={"group_name": "team", "members": [ben.phone_number]})
        group_id = made.json()["group_id"]
        sent = (await http.post("/api/messages", json={"chat_id": group_id, "text": "hello"})).json()
        values = {
            "chat_id": group_id,
            "seq": sent["seq"],
            "emoji": "👍",
            "group_id": group_id,
            "user_id": cleo.user_id if method == "POST" or "blocks" in path else ben.user_id,
            "device_id": (await sign_in(server, phone_number=ana.phone_number)).device_id,
        }
        invite = {}
        if "/invites" in path:
            invite = (await http.post(f"/api/groups/{group_id}/invites", json={"max_uses": 1})).json()
            values["invite_id"] = invite["invite_id"]
        if variant in {"leaving", "one's own"}:
            values["user_id"] = ana.user_id
            await http.put(f"/api/groups/{group_id}/members/{ben.user_id}/role", json={"role": "admin"})
        if method == "DELETE" and ("reactions" in path or "star" in path):
            await http.put(path.format(**values))
        if method == "DELETE" and "blocks" in path:
            await http.put(path.format(**values))
        if variant == "of a deleted account":
            await _delete_account(server, cleo)
    body = await _body(server, call, variant, ana, ben, values)
    if path.startswith("/api/invites"):
        body = {"code": invite["code"]}
    token = None if path.startswith("/api/auth") and method == "POST" else ana.token
    if path == "/api/invites/join":
        token = cleo.token
    return Request(method, path.format(**values) + ("?for=me" if variant == "for me" else ""), token, body)


async def _delete_account(server: ServerProcess, device: Device) -> None:
    async with device.http(server) as http:
        assert (await http.delete("/api/users/me")).status_code == 204


async def _body(
    server: ServerProcess, call: str, variant: str, ana: Device, ben: Device, values: dict[str, Any]
) -> dict[str, Any] | None:
    if call in {"POST /api/auth/session", "PUT /api/users/me/phone_number"}:
        number = ana.phone_number if call.startswith("POST") else f"+1417{uuid.uuid4().int % 10**7:07d}"
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            made = (await http.post("/api/auth/code", json={"phone_number": number})).json()
        return {"phone_number": number, "code": made["dev_code"], "code_id": made["code_id"]}
    client_id = {} if variant == "without a client_id" else {"client_id": str(uuid.uuid4())}
    bodies: dict[str, dict[str, Any]] = {
        "POST /api/auth/code": {"phone_number": f"+1416{uuid.uuid4().int % 10**7:07d}"},
        "PATCH /api/users/me": {"username": f"ana{ana.user_id}", "profile_picture_url": None},
        "PUT /api/users/me/pin": {"pin": "482915"},
        "POST /api/users/lookup": {"phone_numbers": [ben.phone_number], "user_ids": [ben.user_id]},
        "PATCH /api/users/me/privacy": {"last_seen": "nobody", "groups": "contacts", "read_receipts": False},
        "POST /api/messages": {"chat_id": values["chat_id"], "text": "again", **client_id},
        "PATCH /api/chats/{chat_id}/messages/{seq}": {"text": "another"},
        "POST /api/chats/{chat_id}/clear": {"up_to_seq": 1},
        "PUT /api/chats/{chat_id}/timer": {"seconds": 86_400},
        "PATCH /api/chats/{chat_id}": {"muted_until": "2099-01-01T00:00:00+02:00", "pinned": True},
        "POST /api/receipts": {"chats": {str(values["chat_id"]): {"read_seq": values["seq"]}}},
        "POST /api/groups": {"group_name": "new", "members": [ben.phone_number], **client_id},
        "PATCH /api/groups/{group_id}": {"group_name": "another", "description": "ours", "who_may_send": "admins"},
        "PUT /api/groups/{group_id}/members/{user_id}/role": {"role": "member" if variant else "admin"},
        "POST /api/groups/{group_id}/invites": {"expires_in": 3600},
    }
    return bodies.get(call)


def test_every_call_that_changes_something_has_its_row() -> None:
    changing = {call.route for call in CALLS if call.method != "GET"}
    assert {row.partition(" | ")[0] for row in ROWS} == changing


@pytest.mark.parametrize("row", ROWS)
async def test_a_call_that_is_made_again_is_answered_as_documented(pair: Pair, row: str) -> None:
    first, again, bodies, _ = ROWS[row]
    request = await prepare(pair.one, row)
    answers = [await request.send(pair.one), await request.send(pair.two)]
    assert [str(answer.status_code) for answer in answers] == [first, again], [answer.text for answer in answers]
    _check_bodies(row, bodies, answers)


@pytest.mark.parametrize("row", ROWS)
async def test_a_call_that_is_made_twice_at_once_is_carried_out_once(pair: Pair, row: str) -> None:
    first, again, bodies, at_once = ROWS[row]
    request = await prepare(pair.one, row)
    answers = list(await asyncio.gather(request.send(pair.one), request.send(pair.two)))
    # The one that came first is first.
    answers.sort(key=lambda answer: (str(answer.status_code) != first, _seq(answer) is None))
    statuses = [str(answer.status_code) for answer in answers]
    assert statuses == [first, again] or statuses == at_once.split(), [answer.text for answer in answers]
    _check_bodies(row, bodies, answers)


def _seq(answer: httpx.Response) -> int | None:
    body = answer.json() if answer.content else {}
    return body.get("seq") if isinstance(body, dict) else None


def _check_bodies(row: str, bodies: str, answers: list[httpx.Response]) -> None:
    if bodies == "same":
        assert answers[0].content == answers[1].content
    if bodies == "once":
        assert _seq(answers[0]) is not None
        assert _seq(answers[1]) is None
    if row == "POST /api/groups":
        assert len({answer.json()["group_id"] for answer in answers}) == 1
    if row == "POST /api/messages":
        assert len({answer.json()["message_id"] for answer in answers}) == 1
        assert sorted(answer.json()["duplicate"] for answer in answers) == [False, True]
