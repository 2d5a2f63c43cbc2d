"""Rate limits at the edge of a real server: one budget for both roads, and a problem that says when to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.routes import CALLS
from tests.support.devices import sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def assert_limited(answer: httpx.Response) -> None:
    assert answer.status_code == 429, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "rate_limited"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["X-Request-Id"]
    assert answer.headers["X-Chat-Server"] == "one"


async def test_rest_and_websockets_share_a_users_messages(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_MESSAGES_PER_USER_PER_MINUTE=2) as server:
        server.wait_ready()
        ana, ben = await sign_in(server, "ana"), await sign_in(server, "ben")
        laptop = await sign_in(server, phone_number=ana.phone_number)
        async with ana.http(server) as http, laptop.socket(server) as socket:
            assert (await http.post("/api/messages", json={"to": "ben", "text": "one"})).status_code == 200
            assert (await socket.message("two", to="ben"))["type"] == "ack"
            assert_limited(await http.post("/api/messages", json={"to": "ben", "text": "three"}))
            refused = await socket.message("four", to="ben")
            assert (refused["type"], refused["code"]) == ("error", "rate_limited")
            assert 1 <= refused["retry_after_seconds"] <= 60
        async with ben.http(server) as http:
            assert (await http.post("/api/messages", json={"to": "ana", "text": "mine"})).status_code == 200
            rows = (await http.get("/api/messages")).json()
            assert [row["text"] for row in rows] == ["one", "two", "mine"]
        async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
            metrics = (await http.get(server.metrics_url)).text
        assert 'chatserver_messages_total{result="limited"} 2.0' in metrics
        assert 'chatserver_rate_limited_total{limit="messages"} 2.0' in metrics


async def test_a_device_makes_so_many_calls_and_no_other_pays_for_it(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_REQUESTS_PER_DEVICE_PER_MINUTE=3) as server:
        server.wait_ready()
        ana = await sign_in(server, "ana")
        laptop = await sign_in(server, phone_number=ana.phone_number)
        async with ana.http(server) as http:
            for _count in range(3):
                assert (await http.get("/api/users/me")).status_code == 200
            for path in ("/api/users/me", "/api/chats"):
                assert_limited(await http.get(path))
        async with laptop.http(server) as http:
            assert (await http.get("/api/users/me")).status_code == 200


async def test_an_address_makes_so_many_calls_and_probes_are_none(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_REQUESTS_PER_ADDRESS_PER_MINUTE=3) as server:
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            for _count in range(3):
                assert (await http.get("/api/users/me")).status_code == 401
            assert_limited(await http.get("/api/users/me"))
            assert_limited(await http.post("/api/auth/code", json={"phone_number": "+14155550101"}))
            assert_limited(await http.get("/api/ws", headers=HANDSHAKE))
            # As the proxy in front says, this is somebody else.
            elsewhere = {"X-Forwarded-For": "198.51.100.7"}
            assert (await http.get("/api/users/me", headers=elsewhere)).status_code == 401
            for path in ("/livez", "/readyz"):
                assert (await http.get(path)).status_code == 200


async def test_a_number_that_was_just_sent_a_code_is_told_to_wait(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            body = {"phone_number": "+14155550101"}
            assert (await http.post("/api/auth/code", json=body)).status_code == 202
            assert_limited(await http.post("/api/auth/code", json=body))


BODIES = {
    "POST /api/messages": {"chat_id": 1, "text": "x"},
    "PATCH /api/chats/{chat_id}/messages/{seq}": {"text": "x"},
    "PATCH /api/users/me": {"profile_picture_url": "https://example.com/a.png"},
    "PUT /api/users/me/phone_number": {"phone_number": "+14155550102", "code": "000000"},
    "PUT /api/users/me/pin": {"pin": "482915"},
    "PATCH /api/users/me/privacy": {"about": "nobody"},
    "PATCH /api/chats/{chat_id}": {"archived": True},
    "POST /api/chats/{chat_id}/clear": {"up_to_seq": 1},
    "PUT /api/chats/{chat_id}/timer": {"seconds": 86_400},
    "POST /api/groups": {"group_name": "x", "members": []},
    "PATCH /api/groups/{group_id}": {"group_name": "x"},
    "PUT /api/groups/{group_id}/members/{user_id}/role": {"role": "admin"},
    "POST /api/groups/{group_id}/invites": {},
    "POST /api/invites/join": {"code": "x"},
}
STORING_NOTHING_THAT_STAYS = {
    "DELETE /api/auth/session": "signs out",
    "DELETE /api/devices/{device_id}": "signs out",
    "DELETE /api/users/me": "deletes",
    "POST /api/users/lookup": "whom the user has found, within the limit on phone numbers",
    "POST /api/ws-ticket": "a row for 30 s; the device's calls are limited",
    "POST /api/invites/preview": "reads; tries at codes are limited",
    "POST /api/receipts": "at most a row for each row of the caller's chats; the device's calls are limited",
}
CHANGES = [
    call for call in CALLS if call.signed_in and call.method != "GET" and call.route not in STORING_NOTHING_THAT_STAYS
]


@pytest.mark.parametrize(
    ("setting", "limit"),
    [("CHAT_MESSAGES_PER_USER_PER_MINUTE", "messages"), ("CHAT_STORED_BYTES_PER_USER_PER_HOUR", "bytes")],
)
async def test_every_call_that_stores_counts(read_dsn: Callable[[], str], setting: str, limit: str) -> None:
    # One change's worth, be it a message or the bytes of two rows.
    with ServerProcess(read_dsn(), "one", **{setting: 1 if limit == "messages" else 700}) as server:
        server.wait_ready()
        assert {call.route for call in CHANGES} == BODIES.keys() | {
            call.route for call in CHANGES if call.body is None
        }, "each call with a body needs one here"
        for call in CHANGES:
            ana = await sign_in(server)
            async with ana.http(server) as http:
                first = await http.post("/api/groups", json={"group_name": "x" * 50, "members": []})
                assert first.status_code == 201
                ids = dict.fromkeys(("chat_id", "seq", "user_id", "group_id", "device_id", "invite_id"), 1)
                path = call.path.format(**ids, emoji="%F0%9F%91%8D")
                answer = await http.request(call.method, path, json=BODIES.get(call.route))
                assert (call.route, answer.status_code) == (call.route, 429)
                assert answer.json()["code"] == "rate_limited"
                # What ends something, or takes nothing, still goes.
                assert (await http.post("/api/ws-ticket")).status_code == 201
                assert (await http.get("/api/chats")).status_code == 200
        assert server.metric(f'chatserver_rate_limited_total{{limit="{limit}"}}') == len(CHANGES)


async def test_a_user_has_so_many_bytes_stored_whatever_way_they_come(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_STORED_BYTES_PER_USER_PER_HOUR=200_000) as server:
        server.wait_ready()
        ana, ben = await sign_in(server, "ana"), await sign_in(server, "ben")
        large = "x" * 65_536
        async with ana.http(server) as http, ana.socket(server) as socket:
            sent = await http.post("/api/messages", json={"to": "ben", "text": large})
            assert sent.status_code == 200
            place = f"/api/chats/{sent.json()['chat_id']}/messages/1"
            assert (await http.patch(place, json={"text": "y" * 65_536})).status_code == 200
            assert (await socket.message(large, to="ben"))["type"] == "ack"
            limited = await http.patch(place, json={"text": large})
            assert limited.status_code == 429
            assert 1 <= int(limited.headers["Retry-After"]) <= 3600
            refused = await socket.message(large, to="ben")
            assert (refused["type"], refused["code"]) == ("error", "rate_limited")
            # What is small has room still, and nobody else pays.
            assert (await http.post("/api/messages", json={"to": "ben", "text": "small"})).status_code == 200
        async with ben.http(server) as http:
            assert (await http.post("/api/messages", json={"to": "ana", "text": large})).status_code == 200
