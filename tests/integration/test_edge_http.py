"""The REST edge of a real server: answers, problems, headers."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.devices import sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def one(read_dsn: Callable[[], str]) -> Iterator[ServerProcess]:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        yield server


def assert_problem(answer: httpx.Response, status: int, code: str, path: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Chat-Server"] == "one"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["X-Request-Id"]
    if path is not None:
        assert [error["path"] for error in body["errors"]] == [path]


async def test_sign_in_and_send_by_rest(one: ServerProcess) -> None:
    ana, bob = await sign_in(one, "ana"), await sign_in(one, "bob")
    async with ana.http(one) as http:
        sent = await http.post("/api/messages", json={"to": "BOB", "text": "hello"})
        assert sent.status_code == 200, sent.text
        assert {key: sent.json()[key] for key in ("seq", "status", "duplicate")} == {
            "seq": 1,
            "status": "sent",
            "duplicate": False,
        }
        me = await http.get("/api/users/me")
        assert me.json()["username"] == "ana"
        chats = (await http.get("/api/chats")).json()
        assert [chat["chat_id"] for chat in chats["chats"]] == [sent.json()["chat_id"]]
    async with bob.http(one) as http:
        polled = await http.get("/api/messages")
        assert [(row["from"], row["to"], row["text"]) for row in polled.json()] == [("ana", "bob", "hello")]
        again = await http.get("/api/messages", params={"since": polled.headers["X-Next-Since"]})
        assert again.json() == []
        assert (await http.get("/api/messages", params={"since": "1000000000"})).json() == polled.json()
        history = await http.get(f"/api/chats/{sent.json()['chat_id']}/messages", params={"after": 0})
        assert [row["text"] for row in history.json()] == ["hello"]


async def test_a_retry_may_leave_out_the_empty_text_and_take_the_other_road(one: ServerProcess) -> None:
    ana, _bob = await sign_in(one, "ana"), await sign_in(one, "bob")
    frame_id = "3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11"
    picture = {"to": "bob", "media_url": "https://example.com/cat.jpg"}
    async with ana.socket(one) as socket:
        await socket.send(type="send", id=frame_id, message_type="image", **picture)
        ack = await socket.of_type("ack", id=frame_id)
    async with ana.http(one) as http:
        for text in ({}, {"text": None}, {"text": ""}):
            again = await http.post("/api/messages", json={"client_id": frame_id, "type": "image", **picture, **text})
            assert again.status_code == 200, again.text
            assert (again.json()["seq"], again.json()["duplicate"]) == (ack["seq"], True)


async def test_no_answer_carries_an_empty_header(process: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as http:
        for path in ("/livez", "/nowhere"):
            answer = await http.get(path)
            assert [name for name, value in answer.headers.items() if not value] == []


async def test_a_group_is_made_sent_to_and_read(one: ServerProcess) -> None:
    ana, bob, eve = await sign_in(one, "ana"), await sign_in(one, "bob"), await sign_in(one, "eve")
    async with ana.http(one) as http:
        made = await http.post("/api/groups", json={"group_name": "Team", "members": ["bob", eve.phone_number]})
        assert made.status_code == 201, made.text
        chat_id = made.json()["chat_id"]
        assert (await http.post("/api/messages", json={"chat_id": chat_id, "text": "all"})).status_code == 200
    for member in (bob, eve):
        async with member.http(one) as http:
            rows = (await http.get("/api/messages")).json()
            assert [(row["chat_id"], row["text"], row["to"]) for row in rows] == [(chat_id, "all", None)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "field"),
    [
        ("POST", "/api/messages", {"to": "nobody", "text": "x"}, 404, "user_not_found", None),
        ("POST", "/api/messages", {"chat_id": 10**15, "text": "x"}, 404, "chat_not_found", None),
        ("POST", "/api/messages", {"to": "ana", "text": "x", "txt": 1}, 422, "validation_failed", "txt"),
        ("POST", "/api/messages", {"to": "ana", "text": 7}, 422, "validation_failed", "text"),
        ("POST", "/api/messages", [], 422, "validation_failed", "body"),
        ("POST", "/api/groups", {"group_name": "g", "members": ["a", 5]}, 422, "validation_failed", "members[1]"),
        ("POST", "/api/groups", {"members": []}, 422, "validation_failed", "group_name"),
        ("POST", "/api/receipts", {"chats": {"1": {"read_seq": -1}}}, 422, "validation_failed", None),
        ("POST", "/api/receipts", {"chats": {"x": {"read_seq": 1}}}, 422, "validation_failed", "chats"),
        ("GET", "/api/messages?wait=-1", None, 422, "validation_failed", "wait"),
        ("GET", "/api/messages?limit=many", None, 422, "validation_failed", "limit"),
        ("GET", "/api/messages?sinc=1", None, 422, "validation_failed", "sinc"),
        ("GET", "/api/messages?since=%21", None, 422, "validation_failed", "since"),
        ("GET", "/api/users/0", None, 422, "validation_failed", "user_id"),
        ("GET", "/api/users/999999999", None, 404, "user_not_found", None),
        ("GET", "/api/chats/999999999", None, 404, "chat_not_found", None),
        ("DELETE", "/api/devices/999999999", None, 404, "device_not_found", None),
        ("GET", "/nowhere", None, 404, "not_found", None),
        ("GET", "/%2e%2e/etc/passwd", None, 404, "not_found", None),
        ("GET", "/metrics", None, 404, "not_found", None),
        ("PUT", "/api/messages", {}, 405, "method_not_allowed", None),
        ("GET", "/api/ws", None, 426, "upgrade_required", None),
    ],
)
async def test_a_wrong_request_is_a_problem(
    process: ServerProcess,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: str,
    field: str | None,
) -> None:
    ana = await sign_in(process)
    async with ana.http(process) as http:
        assert_problem(await http.request(method, path, json=body), status, code, field)


async def test_what_is_no_json_is_400_and_what_is_too_large_413(process: ServerProcess) -> None:
    ana = await sign_in(process)
    async with ana.http(process) as http:
        for content in (b"", b"{", b"\xff\xfe", b"[" * 200_000):
            answer = await http.post("/api/messages", content=content)
            assert answer.status_code in {400, 422}, answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert_problem(await http.post("/api/messages", content=b"{"), 400, "bad_request")
        assert_problem(await http.post("/api/messages", content=b"x" * 1_000_000), 413, "too_large")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}])
async def test_without_a_good_token_401_says_how_to_authenticate(
    process: ServerProcess, headers: dict[str, str]
) -> None:
    async with httpx.AsyncClient(base_url=process.url, headers=headers, verify=NO_TLS, trust_env=False) as http:
        for path in ("/api/messages", "/api/chats", "/api/users/me", "/api/devices"):
            answer = await http.get(path)
            assert_problem(answer, 401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_the_callers_request_id_comes_back_if_it_is_sane(process: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as http:
        assert (await http.get("/livez", headers={"X-Request-Id": "abc-123"})).headers["X-Request-Id"] == "abc-123"
        for bad in ("a b", "x" * 65, '"'):
            answer = await http.get("/livez", headers={"X-Request-Id": bad})
            assert answer.headers["X-Request-Id"] != bad
            assert len(answer.headers["X-Request-Id"]) == 32


async def test_a_long_poll_answers_when_something_arrives_and_empty_when_not(one: ServerProcess) -> None:
    ana, bob = await sign_in(one, "ana"), await sign_in(one, "bob")
    async with ana.http(one) as ana_http, bob.http(one) as bob_http:
        empty = await bob_http.get("/api/messages", params={"wait": 1})
        assert empty.json() == []
        since = empty.headers["X-Next-Since"]
        polling = asyncio.create_task(bob_http.get("/api/messages", params={"wait": 60, "since": since}))
        await asyncio.sleep(0.5)
        assert not polling.done()
        await ana_http.post("/api/messages", json={"to": "bob", "text": "wake"})
        answer = await asyncio.wait_for(polling, 30)
        assert [row["text"] for row in answer.json()] == ["wake"]


async def test_a_client_that_hangs_up_during_a_long_poll_is_no_failure_of_the_server(one: ServerProcess) -> None:
    bob = await sign_in(one, "bob")
    async with bob.http(one) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/api/messages", params={"wait": 60}, timeout=0.5)
    async with asyncio.timeout(30):
        while not [event for event in one.events() if event.get("status") == 499]:
            await asyncio.sleep(0.1)
    assert "request_failed" not in one.log_text()
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        assert 'status="500"' not in (await http.get(one.metrics_url)).text


async def test_metrics_are_on_their_own_port_and_hold_no_user_data(one: ServerProcess) -> None:
    ana, bob = await sign_in(one, "ana-secretname"), await sign_in(one, "bob-secretname")
    async with ana.http(one) as http:
        await http.post("/api/messages", json={"to": "bob-secretname", "text": "hidden words"})
        await http.get("/nowhere/1")
        await http.get("/nowhere/2")
        await http.get(f"/api/users/{bob.user_id}")
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        text = (await http.get(one.metrics_url)).text
        assert (await http.get(one.metrics_url.replace("/metrics", "/"))).status_code == 404
    assert 'chatserver_messages_total{result="stored"} 1.0' in text
    assert 'route="unmatched",status="404"} 2.0' in text
    assert "chatserver_connections 0.0" in text
    assert "chatserver_draining 0.0" in text
    for secret in ("secretname", "hidden", "nowhere", ana.token):
        assert secret not in text


async def test_logs_are_json_lines_without_secrets(one: ServerProcess) -> None:
    ana, _bob = await sign_in(one, "ana"), await sign_in(one, "bob")
    async with ana.http(one) as http:
        answer = await http.post("/api/messages", json={"to": "bob", "text": "hidden words"})
    async with ana.socket(one) as socket:
        await socket.message("more hidden words", to="bob")
    async with ana.http(one) as http:
        ticket = (await http.post("/api/ws-ticket")).json()["ticket"]
        # Refused, unfinished and good handshakes: an address with a secret is in none of their lines.
        for headers in ({}, {"Upgrade": "websocket"}, {"Upgrade": "websocket", "Origin": "https://elsewhere.example"}):
            assert (await http.get("/api/ws", params={"ticket": ticket}, headers=headers)).status_code in {
                400,
                403,
                426,
            }
            await http.get("/nowhere", params={"ticket": ticket})
    async with connect(f"{one.ws_url}/api/ws?ticket={ticket}", proxy=None) as connection:
        assert await connection.recv()
    events = one.events()
    assert answer.headers["X-Request-Id"] in {event.get("request_id") for event in events}
    text = one.log_text()
    for secret in ("hidden words", ana.token, ticket, ana.phone_number, "dev_code"):
        assert secret not in text


async def test_the_page_is_served_with_security_headers_and_nothing_outside_its_folder(
    read_dsn: Callable[[], str], tmp_path: Path
) -> None:
    root = tmp_path / "web"
    root.mkdir()
    (root / "index.html").write_text("<!doctype html><title>Chat</title>")
    (root / "app.js").write_text("export {};")
    (root / ".hidden").write_text("no")
    (tmp_path / "outside.txt").write_text("no")
    with ServerProcess(read_dsn(), "one", CHAT_WEB_ROOT=str(root)) as server:
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            page = await http.get("/")
            assert page.status_code == 200
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src 'self'" in page.headers["Content-Security-Policy"]
            assert page.headers["X-Content-Type-Options"] == "nosniff"
            script = await http.get("/app.js")
            assert script.headers["Content-Type"].startswith("text/javascript")
            cached = await http.get("/app.js", headers={"If-None-Match": script.headers["ETag"]})
            assert cached.status_code == 304
            for path in ("/.hidden", "/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt"):
                assert_problem(await http.get(path), 404, "not_found")


async def test_devices_are_listed_and_revoked(one: ServerProcess) -> None:
    phone = await sign_in(one, "ana")
    laptop = await sign_in(one, phone_number=phone.phone_number)
    async with phone.http(one) as http:
        devices = (await http.get("/api/devices")).json()
        assert {(device["device_id"], device["current"]) for device in devices} == {
            (phone.device_id, True),
            (laptop.device_id, False),
        }
        assert (await http.delete(f"/api/devices/{laptop.device_id}")).status_code == 204
    async with laptop.http(one) as http:
        assert_problem(await http.get("/api/users/me"), 401, "unauthenticated")
    async with phone.http(one) as http:
        assert (await http.delete("/api/auth/session")).status_code == 204
        assert_problem(await http.get("/api/users/me"), 401, "unauthenticated")


async def test_an_unknown_setting_value_ends_the_start_with_its_name(read_dsn: Callable[[], str]) -> None:
    server = ServerProcess(read_dsn(), "one", CHAT_DRAIN_SECONDS="soon")
    server.spawn()
    try:
        assert await asyncio.to_thread(server.wait, 30) == 2
        assert "CHAT_DRAIN_SECONDS" in server.log_text()
    finally:
        server.__exit__()


def send_too_much(server: ServerProcess, sent_bytes: int) -> socket.socket:
    """Claim a large body and send a part of it, of which the server takes 320 KiB."""
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    head = f"POST /api/auth/code HTTP/1.1\r\nHost: {host}\r\nContent-Length: {10**9}\r\n\r\n"
    client.sendall(head.encode() + b"x" * sent_bytes)
    return client


def test_a_client_that_sends_on_after_a_refusal_still_reads_it(process: ServerProcess) -> None:
    with send_too_much(process, 400_000) as client:
        # The answer is there, and the server done with it.
        assert client.recv(1, socket.MSG_PEEK) == b"H"
        for _ in range(40):
            client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer


def test_a_client_that_sends_without_end_is_cut(process: ServerProcess) -> None:
    with send_too_much(process, 400_000) as client, pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
        client.sendall(b"x" * 10**8)
