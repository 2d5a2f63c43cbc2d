"""WebSockets of real servers: delivery across servers, sync, who may connect."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.support.devices import Device, Socket, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

Servers = tuple[ServerProcess, ServerProcess]


@pytest.fixture
def two(read_dsn: Callable[[], str]) -> Iterator[Servers]:
    with ServerProcess(read_dsn(), "one") as one, ServerProcess(read_dsn(), "two") as two:
        one.wait_ready()
        two.wait_ready()
        yield one, two


async def test_message_delivered_and_read_cross_servers(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with ana.socket(two[0]) as a, bob.socket(two[1]) as b:
        ack = await a.message("hello", to="bob")
        assert (ack["type"], ack["seq"], ack["duplicate"]) == ("ack", 1, False)
        row = await b.text("hello")
        assert (row["from"], row["from_id"], row["seq"], row["status"]) == ("ana", ana.user_id, 1, "sent")
        await b.send(type="delivered", chat_id=ack["chat_id"], seq=1)
        await a.of_type("receipt", user_id=bob.user_id, delivered_seq=1, read_seq=0)
        await b.send(type="read", chat_id=ack["chat_id"], seq=1)
        await a.of_type("receipt", user_id=bob.user_id, delivered_seq=1, read_seq=1)
        answer = await b.message("hi", chat_id=ack["chat_id"])
        assert answer["seq"] == 2
        assert (await a.text("hi"))["to"] == "ana"


async def test_message_delivered_and_read_by_polling_alone(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with ana.http(two[0]) as a, bob.http(two[1]) as b:
        since = (await b.get("/api/messages")).headers["X-Next-Since"]
        polling = asyncio.create_task(b.get("/api/messages", params={"since": since, "wait": 60}))
        await asyncio.sleep(0.5)
        sent = (await a.post("/api/messages", json={"to": "bob", "text": "hello"})).json()
        rows = (await asyncio.wait_for(polling, 20)).json()
        assert [row["text"] for row in rows] == ["hello"]
        chat = str(sent["chat_id"])
        for marks, status in (({"delivered_seq": 1}, "delivered"), ({"read_seq": 1}, "read")):
            assert (await b.post("/api/receipts", json={"chats": {chat: marks}})).status_code == 204
            assert [row["status"] for row in (await a.get("/api/messages")).json()] == [status]
        assert (await b.get(f"/api/chats/{chat}")).json()["unread"] == 0


async def test_reading_marks_nothing(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with ana.socket(two[0]) as a, bob.socket(two[1]) as b:
        ack = await a.message("hello", to="bob")
        await b.text("hello")
        async with bob.http(two[1]) as http:
            await http.get("/api/messages")
            await http.get(f"/api/chats/{ack['chat_id']}/messages")
            chat = (await http.get(f"/api/chats/{ack['chat_id']}")).json()
    mine = next(member for member in chat["members"] if member["user_id"] == bob.user_id)
    assert (mine["delivered_seq"], mine["read_seq"], chat["unread"]) == (0, 0, 1)


async def test_the_senders_other_device_gets_the_message_and_the_sending_one_only_the_ack(two: Servers) -> None:
    phone = await sign_in(two[0], "ana")
    laptop = await sign_in(two[1], phone_number=phone.phone_number)
    bob = await sign_in(two[0], "bob")
    async with phone.socket(two[0]) as a, laptop.socket(two[1]) as a2, bob.socket(two[0]) as b:
        await a.message("one", to="bob")
        await b.message("two", to="ana")
        await a.text("two")
        await a2.text("two")
    assert [seq for _, seq in a.rows()] == [2]
    assert [seq for _, seq in a2.rows()] == [1, 2]


async def test_sync_after_reconnecting_brings_what_was_missed_in_order(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with ana.socket(two[0]) as a:
        async with bob.socket(two[1]) as b:
            chat_id = (await a.message("0", to="bob"))["chat_id"]
            await b.text("0")
        for number in range(1, 8):
            await a.message(str(number), chat_id=chat_id)
        async with bob.socket(two[0]) as b:
            await b.send(type="sync", chats={str(chat_id): 1})
            synced = await b.of_type("synced")
            assert [seq for _, seq in b.rows()] == [2, 3, 4, 5, 6, 7, 8]
            assert [(chat["chat_id"], chat["last_seq"]) for chat in synced["chats"]] == [(chat_id, 8)]
            await a.message("8", chat_id=chat_id)
            await b.text("8")
            assert [seq for _, seq in b.rows()] == [2, 3, 4, 5, 6, 7, 8, 9]


async def test_syncs_among_a_stream_of_messages_keep_each_chat_ascending(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with ana.socket(two[0]) as a, bob.socket(two[1]) as b:
        chat_id = (await a.message("0", to="bob"))["chat_id"]
        await b.text("0")
        for number in range(1, 101):
            await a.send(type="send", id=str(uuid.uuid4()), text=str(number), chat_id=chat_id)
            if number % 20 == 0:
                have = max(seq for _, seq in b.rows())
                await b.send(type="sync", chats={str(chat_id): have})
            await asyncio.sleep(0.002)
        await b.until(lambda f: f["type"] == "message" and f["message"]["seq"] == 101)
        await b.message("end", chat_id=chat_id)
    seqs = [seq for _, seq in b.rows()]
    assert sorted(set(seqs)) == list(range(1, 102))


async def test_the_same_id_again_is_acked_as_a_duplicate_and_pushed_once(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with ana.socket(two[0]) as a, bob.socket(two[1]) as b:
        frame_id = str(uuid.uuid4())
        for _ in range(2):
            await a.send(type="send", id=frame_id, to="bob", text="once")
        await a.of_type("ack", id=frame_id, duplicate=True)
        await a.message("after", to="bob")
        await b.text("after")
        await a.send(type="send", id=frame_id, to="bob", text="another")
        assert (await a.of_type("error", id=frame_id))["code"] == "idempotency_conflict"
    assert [seq for _, seq in b.rows()] == [1, 2]


async def test_a_new_group_reaches_connected_members_as_an_event(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with bob.socket(two[1]) as b, ana.http(two[0]) as http:
        group = (await http.post("/api/groups", json={"group_name": "Team", "members": ["bob"]})).json()
        await b.until(lambda f: f["type"] == "event" and f["chat_id"] == group["chat_id"])
        await http.post("/api/messages", json={"chat_id": group["chat_id"], "text": "all"})
        await b.text("all")
    seqs = [seq for chat_id, seq in b.rows() if chat_id == group["chat_id"]]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_bad_sends_are_answered_and_the_socket_stays(two: Servers) -> None:
    ana = await sign_in(two[0], "ana")
    async with ana.socket(two[0]) as a:
        assert (await a.message("x", to="nobody"))["code"] == "user_not_found"
        assert (await a.message("x", chat_id=10**12))["code"] == "chat_not_found"
        await a.connection.send("{")
        await a.of_type("error", code="bad_json")
        await a.connection.send(b"{}")
        await a.of_type("error", code="bad_frame")
        await a.send(type="ping")
        await a.of_type("pong")


async def test_typing_and_presence_cross_servers(two: Servers) -> None:
    ana, bob = await sign_in(two[0], "ana"), await sign_in(two[1], "bob")
    async with ana.socket(two[0]) as a:
        async with bob.socket(two[1]) as b:
            chat_id = (await b.message("x", to="ana"))["chat_id"]
            await a.text("x")
            await a.send(type="subscribe", user_ids=[bob.user_id])
            await a.of_type("presence", user_id=bob.user_id, online=True)
            # The ack can be ahead of the news of the new chat, without which typing goes nowhere: type on.
            typed = asyncio.create_task(a.of_type("typing", chat_id=chat_id, user_id=bob.user_id))
            while not typed.done():
                await b.send(type="typing", chat_id=chat_id)
                await asyncio.wait([typed], timeout=0.5)
            await typed
            a.frames.clear()
        await a.of_type("presence", user_id=bob.user_id, online=False)


async def test_a_bad_token_is_accepted_and_closed_with_4001(two: Servers) -> None:
    for headers, query in (({}, ""), ({"Authorization": "Bearer x"}, ""), ({}, "?ticket=x")):
        url = f"{two[0].ws_url}/api/ws{query}"
        async with connect(url, additional_headers=headers, proxy=None) as connection:
            assert await Socket(connection).close_code() == 4001


async def test_a_ticket_opens_one_socket(two: Servers) -> None:
    ana = await sign_in(two[0], "ana")
    async with ana.http(two[0]) as http:
        ticket = (await http.post("/api/ws-ticket")).json()["ticket"]
    url = f"{two[1].ws_url}/api/ws?ticket={ticket}"
    async with connect(url, subprotocols=[Subprotocol("chat.v1")], proxy=None) as connection:
        assert json.loads(await connection.recv())["user_id"] == ana.user_id
        assert connection.subprotocol == "chat.v1"
        assert connection.response is not None
        assert connection.response.headers["X-Chat-Server"] == "two"
        assert connection.response.headers["X-Request-Id"]
    async with connect(url, subprotocols=[Subprotocol("chat.v1")], proxy=None) as connection:
        assert await Socket(connection).close_code() == 4001


async def refused_status(device: Device, server: ServerProcess, origin: str | None = None) -> tuple[int, str | None]:
    try:
        async with connect(
            f"{server.ws_url}/api/ws",
            additional_headers=device.headers,
            origin=Origin(origin) if origin else None,
            proxy=None,
        ):
            return 101, None
    except InvalidStatus as refused:
        assert refused.response.headers["Content-Type"] == "application/problem+json"
        return refused.response.status_code, refused.response.headers.get("Retry-After")


async def test_a_foreign_page_is_refused_and_own_and_allowed_ones_are_not(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_ALLOWED_ORIGINS="https://chat.example.com") as one:
        ana = await sign_in(one)
        for origin in ("https://evil.example", "null"):
            async with connect(
                f"{one.ws_url}/api/ws", additional_headers=ana.headers, origin=Origin(origin), proxy=None
            ) as foreign:
                socket = Socket(foreign)
                assert await socket.close_code() == 4003
                assert socket.frames == []
        assert (await refused_status(ana, one, one.url))[0] == 101
        assert (await refused_status(ana, one, "https://chat.example.com"))[0] == 101


@pytest.mark.parametrize(
    ("forwarded", "scheme", "allowed"),
    [("https", "https", True), ("https", "http", False), ("http", "http", True), ("http", "https", True),
     ("https", "x-extension", False), (None, "x-extension", False), (None, "http", True), (None, "https", True)],
)  # fmt: skip
async def test_a_page_by_plain_http_is_no_page_of_a_host_that_serves_https(
    process: ServerProcess, forwarded: str | None, scheme: str, *, allowed: bool
) -> None:
    ana = await sign_in(process)
    headers = {**ana.headers, **({"X-Forwarded-Proto": forwarded} if forwarded else {})}
    origin = Origin(f"{scheme}://{process.url.removeprefix('http://')}")
    async with connect(f"{process.ws_url}/api/ws", additional_headers=headers, origin=origin, proxy=None) as connection:
        socket = Socket(connection)
        if allowed:
            await socket.send(type="ping")
            await socket.of_type("pong")
        else:
            assert await socket.close_code() == 4003


async def test_above_the_cap_a_socket_is_refused_with_retry_after(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_MAX_CONNECTIONS=1) as one:
        ana, bob = await sign_in(one), await sign_in(one)
        async with ana.socket(one):
            status, retry_after = await refused_status(bob, one)
            assert status == 503
            assert retry_after is not None
            assert one.metric("chatserver_connections") == 1


async def test_the_same_device_again_closes_the_old_socket_with_4009(two: Servers) -> None:
    ana = await sign_in(two[0])
    async with ana.socket(two[0]) as old, ana.socket(two[0]) as new:
        assert await old.close_code() == 4009
        await new.send(type="ping")
        await new.of_type("pong")


async def test_the_same_device_on_another_server_closes_the_old_socket_with_4009(two: Servers) -> None:
    ana = await sign_in(two[0])
    async with contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(ana.socket(two[0]))
        for number in range(1, 5):
            new = await stack.enter_async_context(ana.socket(two[number % 2]))
            assert await old.close_code() == 4009
            old = new
        await new.send(type="ping")
        await new.of_type("pong")
        other = await sign_in(two[0], phone_number=ana.phone_number)
        async with other.socket(two[1]) as laptop:
            await laptop.message("still here", to=ana.phone_number)
            await new.text("still here")


async def test_a_malformed_handshake_leaves_its_ticket_good(two: Servers) -> None:
    ana = await sign_in(two[0])
    async with ana.http(two[0]) as http:
        ticket = (await http.post("/api/ws-ticket")).json()["ticket"]
        path = f"/api/ws?ticket={ticket}"
        async with httpx.AsyncClient(base_url=two[0].url, verify=NO_TLS, trust_env=False) as page:
            assert (await page.get(path)).status_code == 426
            halfway = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
            assert (await page.get(path, headers=halfway)).status_code == 400
    async with connect(two[0].ws_url + path, origin=Origin("https://evil.example"), proxy=None) as foreign:
        assert await Socket(foreign).close_code() == 4003
    async with connect(two[0].ws_url + path, proxy=None) as connection:
        assert json.loads(await connection.recv())["type"] == "welcome"


async def test_a_revoked_device_is_closed_with_4001_on_another_server(two: Servers) -> None:
    phone = await sign_in(two[0], "ana")
    laptop = await sign_in(two[1], phone_number=phone.phone_number)
    async with laptop.socket(two[1]) as socket, phone.http(two[0]) as http:
        assert (await http.delete(f"/api/devices/{laptop.device_id}")).status_code == 204
        assert await socket.close_code() == 4001
