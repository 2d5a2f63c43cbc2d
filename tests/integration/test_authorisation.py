"""Who may do what: every call of the API for everybody who could make it, as one table, against a real server.

What an answer of 200 shows of somebody is the table of test_visibility.py.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from chatserver.apidocs.openapi import make_openapi
from chatserver.routes import CALLS
from tests.support.devices import WAIT_SECONDS, Device, sign_in
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

# stranger  never was in the group
# member    of the group, and wrote the message {seq} of it
# former    was in the group, until an admin removed them
# blocked   by the admin, with whom they have a chat of two; also a member of the group
# admin     of the group
# revoked   the member, on a device that was signed out
# nobody    no token
# The last row leaves nobody to ask.
MATRIX = """
call                                                               stranger member former blocked admin revoked nobody
POST /api/auth/code                                                202      202    202    202     202   202     202
POST /api/auth/session                                             201      201    201    201     201   201     201
DELETE /api/auth/session                                           204      204    204    204     204   401     401
GET /api/devices                                                   200      200    200    200     200   401     401
DELETE /api/devices/{device_id} | their own                        204      204    204    204     204   401     401
DELETE /api/devices/{device_id} | another user's                   404d     404d   404d   404d    404d  401     401
POST /api/ws-ticket                                                201      201    201    201     201   401     401
GET /api/ws                                                        101      101    101    101     101   4001    4001
GET /api/users/me                                                  200      200    200    200     200   401     401
PUT /api/users/me/phone_number                                     200      200    200    200     200   401     401
PUT /api/users/me/pin                                              204      204    204    204     204   401     401
PATCH /api/users/me                                                200      200    200    200     200   401     401
GET /api/users/me/export                                           200      200    200    200     200   401     401
GET /api/users/me/privacy                                          200      200    200    200     200   401     401
PATCH /api/users/me/privacy                                        200      200    200    200     200   401     401
DELETE /api/users/me                                               204      204    204    204     204   401     401
GET /api/users                                                     200      200    200    200     200   401     401
POST /api/users/lookup                                             200      200    200    200     200   401     401
GET /api/users/{user_id}                                           200      200    200    200     200   401     401
POST /api/messages | to the admin                                  200      200    200    403b    200   401     401
POST /api/messages | to the group                                  404c     200    403m   200     200   401     401
POST /api/messages | to the group, where only admins send          404c     403a   403m   403a    200   401     401
POST /api/messages | to the two's chat                             404c     404c   404c   403b    403b  401     401
GET /api/messages                                                  200      200    200    200     200   401     401
GET /api/chats                                                     200      200    200    200     200   401     401
GET /api/chats/{chat_id}                                           404c     200    200    200     200   401     401
GET /api/chats/{chat_id} | the two's                               404c     404c   404c   200     200   401     401
GET /api/chats/{chat_id}/messages                                  404c     200    200    200     200   401     401
GET /api/chats/{chat_id}/messages | the two's                      404c     404c   404c   200     200   401     401
PATCH /api/chats/{chat_id}/messages/{seq}                          404c     200    403m   403f    403f  401     401
PATCH /api/chats/{chat_id}/messages/{seq} | the blocked one's      404c     404c   404c   403b    403f  401     401
DELETE /api/chats/{chat_id}/messages/{seq}                         404c     200    403m   403f    200   401     401
DELETE /api/chats/{chat_id}/messages/{seq} | for me                404c     200    200    200     200   401     401
DELETE /api/chats/{chat_id}/messages/{seq} | the blocked one's     404c     404c   404c   200     403f  401     401
PUT /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}          404c     200    403m   200     200   401     401
PATCH /api/chats/{chat_id}/messages/{seq} | where only admins send  404c     200    403m   403f    403f  401     401
DELETE /api/chats/{chat_id}/messages/{seq} | where only admins send  404c    200    403m   403f    200   401     401
PUT /api/chats/{chat_id}/messages/{seq}/reactions/{emoji} | there  404c     200    403m   200     200   401     401
PUT /api/chats/{chat_id}/messages/{seq}/reactions/{emoji} | two's  404c     404c   404c   403b    403b  401     401
DELETE /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}       404c     200    403m   200     200   401     401
GET /api/chats/{chat_id}/messages/{seq}/info                       404c     200    403m   403f    403f  401     401
GET /api/chats/{chat_id}/messages/{seq}/info | the two's           404c     404c   404c   200     403f  401     401
PATCH /api/chats/{chat_id}                                         404c     200    200    200     200   401     401
PATCH /api/chats/{chat_id} | the two's                             404c     404c   404c   200     200   401     401
POST /api/chats/{chat_id}/clear                                    404c     200    200    200     200   401     401
PUT /api/chats/{chat_id}/timer                                     404c     403a   403m   403a    200   401     401
PUT /api/chats/{chat_id}/timer | the two's                         404c     404c   404c   403b    403b  401     401
PUT /api/chats/{chat_id}/messages/{seq}/star                       404c     200    200    200     200   401     401
DELETE /api/chats/{chat_id}/messages/{seq}/star                    404c     200    200    200     200   401     401
GET /api/stars                                                     200      200    200    200     200   401     401
POST /api/receipts                                                 204      204    204    204     204   401     401
GET /api/blocks                                                    200      200    200    200     200   401     401
PUT /api/blocks/{user_id}                                          200      200    200    200     200   401     401
DELETE /api/blocks/{user_id}                                       200      200    200    200     200   401     401
POST /api/groups                                                   201      201    201    201     201   401     401
POST /api/groups | with who blocks the admin                       201      201    201    201     403b  401     401
PATCH /api/groups/{group_id}                                       404c     403a   403m   403a    200   401     401
POST /api/groups/{group_id}/members/{user_id}                      404c     403a   403m   403a    200   401     401
PATCH /api/groups/{group_id} | where everyone may edit             404c     200    403m   200     200   401     401
PATCH /api/groups/{group_id} | who may send                        404c     403a   403m   403a    200   401     401
PATCH /api/groups/{group_id} | who may send, where all may edit    404c     403a   403m   403a    200   401     401
POST /api/groups/{group_id}/members/{user_id} | where everyone may  404c     200    403m   200     200   401     401
POST /api/groups/{group_id}/members/{user_id} | who blocks you     404c     403a   403m   403a    403b  401     401
DELETE /api/groups/{group_id}/members/{user_id}                    404c     403a   403m   403a    200   401     401
DELETE /api/groups/{group_id}/members/{user_id} | themselves       404c     200    200    200     200   401     401
PUT /api/groups/{group_id}/members/{user_id}/role                  404c     403a   403m   403a    200   401     401
PUT /api/groups/{group_id}/members/{user_id}/role | you block       404c     403a   403m   403a    403b  401     401
POST /api/groups/{group_id}/invites                                404c     403a   403m   403a    201   401     401
POST /api/groups/{group_id}/invites | where everyone may           404c     201    403m   201     201   401     401
GET /api/groups/{group_id}/invites                                 404c     403a   403m   403a    200   401     401
GET /api/groups/{group_id}/invites | where everyone may            404c     200    403m   200     200   401     401
DELETE /api/groups/{group_id}/invites/{invite_id}                  404c     403a   403m   403a    204   401     401
DELETE /api/groups/{group_id}/invites/{invite_id} | where everyone may  404c  403a   403m   403a    204   401     401
POST /api/invites/preview                                          200      200    200    200     200   401     401
POST /api/invites/preview | unknown                                404i     404i   404i   404i    404i  401     401
POST /api/invites/join                                             200      200    403m   200     200   401     401
POST /api/invites/join | unknown                                   404i     404i   404i   404i    404i  401     401
GET /livez                                                         200      200    200    200     200   200     200
GET /readyz                                                        200      200    200    200     200   200     200
GET /openapi.json                                                  200      200    200    200     200   200     200
GET /asyncapi.json                                                 200      200    200    200     200   200     200
GET /docs                                                          200      200    200    200     200   200     200
DELETE /api/users/me                                               204      204    204    204     204   401     401
"""
CODES = {
    "401": "unauthenticated",
    "403a": "not_an_admin",
    "403b": "blocked",
    "403f": "forbidden",
    "403m": "not_a_member",
    "404c": "chat_not_found",
    "404d": "device_not_found",
    "404i": "invite_not_found",
}
LINES = [re.split(" {2,}", line, maxsplit=1) for line in MATRIX.strip().splitlines()]
PERSONS = LINES[0][1].split()
TABLE = {row: dict(zip(PERSONS, cells.split(), strict=True)) for row, cells in LINES[1:]}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cast:
    """Those of the table, and who goes with them.

    Attributes:
        two: the chat of the admin and the blocked one.
        outsider: in no chat.
        other: a further plain member.
        blocker: has blocked the admin.
    """

    server: ServerProcess
    people: dict[str, Device | None]
    outsider: Device
    other: Device
    blocker: Device
    two: int


async def gather_cast(server: ServerProcess) -> Cast:
    names = ("stranger", "member", "former", "blocked", "admin", "outsider", "other", "blocker")
    # "admin" is reserved.
    known = {name: await sign_in(server, "chief" if name == "admin" else name) for name in names}
    revoked = await sign_in(server, phone_number=known["member"].phone_number)
    async with revoked.http(server) as http:
        assert (await http.delete("/api/auth/session")).status_code == 204
    async with known["blocked"].http(server) as http:
        for _ in range(2):
            sent = await http.post("/api/messages", json={"to": "chief", "text": "before the block"})
    async with known["admin"].http(server) as http:
        assert (await http.put(f"/api/blocks/{known['blocked'].user_id}")).status_code == 200
    async with known["blocker"].http(server) as http:
        assert (await http.put(f"/api/blocks/{known['admin'].user_id}")).status_code == 200
    people: dict[str, Device | None] = {name: known[name] for name in PERSONS[:5]}
    people |= {"revoked": revoked, "nobody": None}
    return Cast(server, people, known["outsider"], known["other"], known["blocker"], sent.json()["chat_id"])


@pytest.fixture(scope="module")
def cast(process: ServerProcess) -> Cast:
    return asyncio.run(gather_cast(process))


async def make_group(cast: Cast, http: httpx.AsyncClient) -> tuple[int, int]:
    """Return a new group with those of the table, and the seq of the member's message there."""
    admin, member, former, blocked = (cast.people[name] for name in ("admin", "member", "former", "blocked"))
    assert admin is not None
    assert member is not None
    assert former is not None
    assert blocked is not None
    made = {"group_name": "Team", "members": ["member", "former", "blocked", "other"]}
    # Who is blocked cannot be in a group that the admin makes: the block came later.
    block = f"/api/blocks/{blocked.user_id}"
    assert (await http.delete(block, headers=admin.headers)).status_code == 200
    group_id: int = (await http.post("/api/groups", json=made, headers=admin.headers)).json()["group_id"]
    assert (await http.put(block, headers=admin.headers)).status_code == 200
    said = {"chat_id": group_id, "text": "mine"}
    sent = await http.post("/api/messages", json=said, headers=member.headers)
    gone = await http.delete(f"/api/groups/{group_id}/members/{former.user_id}", headers=admin.headers)
    assert (sent.status_code, gone.status_code) == (200, 200)
    return group_id, sent.json()["seq"]


async def invite_to(cast: Cast, http: httpx.AsyncClient, group_id: int) -> dict[str, Any]:
    """Return the id and the code of an invite of the admin."""
    admin = cast.people["admin"]
    assert admin is not None
    made = await http.post(f"/api/groups/{group_id}/invites", json={}, headers=admin.headers)
    assert made.status_code == 201
    return {name: made.json()[name] for name in ("invite_id", "code")}


async def ask(cast: Cast, http: httpx.AsyncClient, row: str, person: str) -> str:
    """Make the call of a row and return its cell: the status and, in short, the code."""
    call, _, variant = row.partition(" | ")
    method, _, template = call.partition(" ")
    device = cast.people[person]
    if device is not None and person != "revoked" and (method, template) in SIGN_OUT:
        # Who deletes their account is somebody new, since the table needs the others.
        device = await sign_in(cast.server, phone_number=None if template == "/api/users/me" else device.phone_number)
    if template == "/api/ws":
        return await open_socket(cast.server, device)
    group_id, seq = await make_group(cast, http) if re.search("chat_id|group_id|messages|invites", call) else (0, 0)
    if setting := next((SETTINGS[words] for words in SETTINGS if variant.endswith(words)), None):
        admin = cast.people["admin"]
        assert admin is not None
        changed = await http.patch(f"/api/groups/{group_id}", json=setting, headers=admin.headers)
        assert changed.status_code == 200
    invite = await invite_to(cast, http, group_id) if "/invites" in call else {}
    places = {
        "chat_id": cast.two if "two's" in variant or "blocked one's" in variant else group_id,
        # The blocked one's first message may be deleted by now.
        "seq": 2 if "two's" in variant else 1 if "blocked one's" in variant else seq,
        "group_id": group_id,
        "emoji": "%F0%9F%91%8D",
        "device_id": cast.outsider.device_id if "another" in variant or device is None else device.device_id,
        "user_id": member_of(cast, call, variant, device),
        **invite,
    }
    body = BODIES.get(row) or BODIES.get(call)
    answer = await http.request(
        method,
        template.format(**places),
        params=QUERIES.get(row),
        headers={} if device is None else device.headers,
        json=None if body is None else filled(body, {**places, **await sign_in_fields(http, call)}),
    )
    if answer.status_code < 400:
        return str(answer.status_code)
    code = answer.json()["code"]
    return next((cell for cell in CODES if CODES[cell] == code and cell[:3] == str(answer.status_code)), code)


SETTINGS = {
    "where only admins send": {"who_may_send": "admins"},
    "there": {"who_may_send": "admins"},
    "where everyone may edit": {"who_may_edit": "everyone"},
    "where all may edit": {"who_may_edit": "everyone"},
    "where everyone may": {"who_may_add": "everyone"},
}
"""What the admin has set of the group, by how a row ends."""

SIGN_OUT = {
    ("DELETE", "/api/auth/session"),
    ("DELETE", "/api/devices/{device_id}"),
    ("DELETE", "/api/users/me"),
}
QUERIES = {
    "GET /api/users": {"username": "outsider"},
    "DELETE /api/chats/{chat_id}/messages/{seq} | for me": {"for": "me"},
}
# A text in braces is filled in.
BODIES: dict[str, dict[str, Any]] = {
    "POST /api/auth/code": {"phone_number": "{phone_number}"},
    "POST /api/auth/session": {"phone_number": "{phone_number}", "code": "{code}"},
    "PATCH /api/users/me": {"profile_picture_url": None},
    "PUT /api/users/me/pin": {"pin": None},
    "PUT /api/users/me/phone_number": {"phone_number": "{phone_number}", "code": "{code}"},
    "POST /api/users/lookup": {"usernames": ["outsider"]},
    "PATCH /api/users/me/privacy": {"picture": "everyone"},
    "POST /api/messages | to the admin": {"to": "chief", "text": "x"},
    "POST /api/messages | to the group": {"chat_id": "{group_id}", "text": "x"},
    "POST /api/messages | to the group, where only admins send": {"chat_id": "{group_id}", "text": "x"},
    "POST /api/messages | to the two's chat": {"chat_id": "{chat_id}", "text": "x"},
    "PATCH /api/chats/{chat_id}/messages/{seq}": {"text": "x"},
    "PATCH /api/chats/{chat_id}": {"archived": True},
    "POST /api/chats/{chat_id}/clear": {"up_to_seq": 1},
    "PUT /api/chats/{chat_id}/timer": {"seconds": 86_400},
    "PUT /api/chats/{chat_id}/timer | the two's": {"seconds": 86_400},
    "POST /api/receipts": {"chats": {"1": {"read_seq": 1}}},
    "POST /api/groups": {"group_name": "Others", "members": ["outsider"]},
    "POST /api/groups | with who blocks the admin": {"group_name": "Others", "members": ["outsider", "blocker"]},
    "PATCH /api/groups/{group_id}": {"group_name": "x", "picture_url": "https://example.com/a.png", "description": "x"},
    "PATCH /api/groups/{group_id} | who may send": {"who_may_send": "admins"},
    "PATCH /api/groups/{group_id} | who may send, where all may edit": {"group_name": "x", "who_may_send": "admins"},
    "PUT /api/groups/{group_id}/members/{user_id}/role": {"role": "admin"},
    "POST /api/groups/{group_id}/invites": {"max_uses": 1},
    "POST /api/invites/preview": {"code": "{code}"},
    "POST /api/invites/preview | unknown": {"code": "BAAAAAAAB2RlZmdoaWprbG1ub3BxcnN0"},
    "POST /api/invites/join": {"code": "{code}"},
    "POST /api/invites/join | unknown": {"code": "BAAAAAAAB2RlZmdoaWprbG1ub3BxcnN0"},
}


def filled(body: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a body with its texts in braces replaced."""
    return {
        name: values[text[1:-1]] if isinstance(text, str) and text.startswith("{") else text
        for name, text in body.items()
    }


def member_of(cast: Cast, call: str, variant: str, device: Device | None) -> int:
    """Return whom a call is about: a member to be changed or removed, someone to be added, or a user at all."""
    if variant == "themselves":
        return 1 if device is None else device.user_id
    if variant == "who blocks you":
        return cast.blocker.user_id
    if variant == "you block":
        blocked = cast.people["blocked"]
        assert blocked is not None
        return blocked.user_id
    return cast.other.user_id if re.match("(DELETE|PUT) /api/groups", call) else cast.outsider.user_id


async def sign_in_fields(http: httpx.AsyncClient, call: str) -> dict[str, str]:
    """Return a new number and, where it is needed, the code for it."""
    number = f"+1212{next(_numbers):07d}"
    if call not in {"POST /api/auth/session", "PUT /api/users/me/phone_number"}:
        return {"phone_number": number}
    made = await http.post("/api/auth/code", json={"phone_number": number})
    return {"phone_number": number, "code": made.json()["dev_code"]}


async def open_socket(server: ServerProcess, device: Device | None) -> str:
    """Return 101 if the server welcomes a WebSocket, else its close code."""
    headers = {} if device is None else device.headers
    async with connect(f"{server.ws_url}/api/ws", additional_headers=headers, proxy=None) as socket:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await socket.recv()
        except ConnectionClosed as closed:
            return str(closed.rcvd.code if closed.rcvd else "none")
        return "101"


@pytest.mark.parametrize("row", TABLE)
async def test_everybody_may_do_what_the_table_says_and_no_more(cast: Cast, row: str) -> None:
    async with httpx.AsyncClient(
        base_url=cast.server.url, timeout=WAIT_SECONDS, verify=NO_TLS, trust_env=False
    ) as http:
        assert {person: await ask(cast, http, row, person) for person in PERSONS} == TABLE[row]


def test_every_operation_of_the_document_is_in_the_table() -> None:
    operations = {f"{method.upper()} {path}" for path, item in make_openapi(CALLS)["paths"].items() for method in item}
    assert {row.partition(" | ")[0] for row in TABLE} == operations


def test_nobody_and_a_revoked_device_reach_nothing_that_needs_a_token() -> None:
    document = make_openapi(CALLS)["paths"]
    for row, cells in TABLE.items():
        method, _, path = row.partition(" | ")[0].partition(" ")
        refused = {cells["revoked"], cells["nobody"]}
        assert (refused <= {"401", "4001"}) == bool(document[path][method.lower()]["security"]), row
