"""Rate limits at the edge of a real server: one budget for both roads, and a problem that says when to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.devices import sign_in
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
        async with httpx.AsyncClient(trust_env=False) as http:
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
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
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
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            body = {"phone_number": "+14155550101"}
            assert (await http.post("/api/auth/code", json=body)).status_code == 202
            assert_limited(await http.post("/api/auth/code", json=body))
