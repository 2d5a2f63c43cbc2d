"""The export of one's own data: what is in it, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatcluster_client import Problem, RestClient
from chatserver.accounts import export
from chatserver.accounts.devices import Devices
from chatserver.accounts.export import Exports
from chatserver.errors import RateLimited, ServiceUnavailable
from chatserver.limits.rates import EXPORTS_PER_USER_PER_DAY
from tests.support.devices import Device, sign_in
from tests.support.people import Server, principal_of
from tests.support.people import sign_in as sign_in_here
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

EXPORT = "/api/users/me/export"
LARGE = "x" * 65_536


def parsed(text: str) -> dict[str, list[Any]]:
    """Return {type: data of its lines, in order}."""
    found: dict[str, list[Any]] = {}
    for line in text.splitlines():
        entry = json.loads(line)
        assert set(entry) == {"type", "data"}
        found.setdefault(entry["type"], []).append(entry["data"])
    return found


async def test_an_export_has_what_the_calls_show_and_nothing_else(process: ServerProcess) -> None:
    ana, ben = await sign_in(process, "exporter"), await sign_in(process, "friend")
    laptop = await sign_in(process, phone_number=ana.phone_number)
    async with ana.http(process) as http, ben.http(process) as other:

        async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
            answer = await client.post(path, json=body)
            assert answer.is_success, answer.text
            return answer.json()

        sent = await post(http, "/api/messages", {"to": "friend", "text": "hello"})
        await post(other, "/api/messages", {"chat_id": sent["chat_id"], "text": "hidden from ana"})
        chat = f"/api/chats/{sent['chat_id']}"
        await http.delete(f"{chat}/messages/2", params={"for": "me"})
        await http.put(f"{chat}/messages/1/star")
        await http.patch(chat, json={"archived": True})
        await http.patch("/api/users/me", json={"about": "At sea"})
        await http.patch("/api/users/me/privacy", json={"about": "contacts"})
        group = await post(other, "/api/groups", {"group_name": "Left", "members": ["exporter"]})
        await post(other, "/api/messages", {"chat_id": group["chat_id"], "text": "while she was there"})
        await http.delete(f"/api/groups/{group['group_id']}/members/{ana.user_id}")
        await post(other, "/api/messages", {"chat_id": group["chat_id"], "text": "after she left"})
        await http.put(f"/api/blocks/{ben.user_id}")
        answer = await http.get(EXPORT)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/jsonl"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        found = parsed(answer.text)
        assert list(found) == ["profile", "privacy", "device", "block", "chat", "star", "row", "end"]
        for kind, path in (("profile", "/api/users/me"), ("privacy", "/api/users/me/privacy")):
            assert found[kind] == [(await http.get(path)).json()]
        devices = (await http.get("/api/devices")).json()
        assert [device["device_id"] for device in found["device"]] == [device["device_id"] for device in devices]
        assert {laptop.device_id, ana.device_id} == {device["device_id"] for device in devices}
        assert found["block"] == [{"user_id": ben.user_id}]
        assert found["chat"] == (await http.get("/api/chats")).json()["chats"]
        assert found["star"] == (await http.get("/api/stars")).json()["stars"]
        rows = (await http.get("/api/messages", params={"events": "true", "limit": 1000})).json()
        assert found["row"] == rows
        assert {"message", "settings", "star", "hide", "block", "profile", "privacy", "member"} <= {
            row["kind"] for row in rows
        }
        for text in ("hidden from ana", "after she left", ana.token, laptop.token):
            assert text not in answer.text
        assert "while she was there" in answer.text
        # It goes on from there.
        await post(http, "/api/messages", {"to": "exporter", "text": "later"})
        since = found["end"][0]["next_since"]
        later = (await http.get("/api/messages", params={"events": "true", "since": since})).json()
        assert [row["text"] for row in later] == ["later"]
        head = await http.head(EXPORT)
        assert (head.status_code, head.content) == (200, b"")


async def test_the_python_client_writes_an_export_and_raises_what_is_refused(process: ServerProcess) -> None:
    device = await sign_in(process)
    file = io.BytesIO()
    async with RestClient(process.url, device.token, device.user_id) as rest:
        await rest.export(file.write)
        assert parsed(file.getvalue().decode())["end"]
        await rest.call("DELETE", "/api/auth/session")
        with pytest.raises(Problem) as refused:
            await rest.export(file.write)
        assert refused.value.code == "unauthenticated"


async def much_to_export(server: ServerProcess) -> Device:
    """Make somebody whose export is larger than all buffers on the way."""
    device = await sign_in(server)
    async with device.socket(server) as socket:
        chat_id = (await socket.message("first", to=device.phone_number))["chat_id"]
        for _ in range(10):
            acks = [socket.message(LARGE, chat_id=chat_id) for _ in range(20)]
            for ack in acks:
                assert (await ack)["type"] == "ack"
    return device


async def test_an_export_is_whole_over_many_pages_and_cut_when_its_device_is_signed_out(process: ServerProcess) -> None:
    device = await much_to_export(process)
    other = await sign_in(process, phone_number=device.phone_number)
    async with other.http(process) as http:
        rows = parsed((await http.get(EXPORT)).text)["row"]
        # Each page has at most 4 MiB of texts.
        assert sum(row["text"] == LARGE for row in rows) == 200
        places = [(row["chat_id"], row["seq"]) for row in rows]
        assert len(places) == len(set(places))
        read = bytearray()
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
            async with device.http(process) as slow, slow.stream("GET", EXPORT) as answer:
                pieces = answer.aiter_bytes()
                read += await anext(pieces)
                # Meanwhile there is no second one.
                assert (await http.get(EXPORT)).status_code == 429
                assert (await http.delete(f"/api/devices/{device.device_id}")).status_code == 204
                async for piece in pieces:
                    read += piece
        assert b'{"type":"end"' not in read
        # Its place is free again.
        assert parsed((await http.get(EXPORT)).text)["end"]


async def test_a_user_has_few_exports_a_day_and_one_at_a_time(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        device, other = await sign_in(server), await sign_in(server)
        async with device.http(server) as http:
            for _ in range(EXPORTS_PER_USER_PER_DAY):
                assert (await http.get(EXPORT)).status_code == 200
            refused = await http.get(EXPORT)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert 1 <= int(refused.headers["Retry-After"]) <= 86_400
        async with other.http(server) as http:
            assert (await http.get(EXPORT)).status_code == 200
        assert server.metric('chatserver_rate_limited_total{limit="exports"}') == 1


async def test_a_server_makes_few_exports_at_once(server: Server) -> None:
    exports = Exports(server.database, Devices(server.database))
    with contextlib.ExitStack() as places:
        for user_id in range(export.AT_ONCE):
            places.enter_context(exports.place(user_id))
        with pytest.raises(ServiceUnavailable):
            places.enter_context(exports.place(99))
        with pytest.raises(RateLimited):
            places.enter_context(exports.place(0))
    with exports.place(99):
        pass


async def test_rows_that_are_written_meanwhile_do_not_make_an_export_endless(server: Server) -> None:
    session = await sign_in_here(server.database, "Ada")
    user_id = session.user.user_id
    exports = Exports(server.database, Devices(server.database))
    chat_id = (await server.send(user_id, "0", to="Ada")).chat_id
    lines = b""
    async for chunk in exports.chunks(principal_of(session)):
        lines += chunk
        await asyncio.gather(*(server.send(user_id, "more", chat_id=chat_id) for _ in range(3)))
    found = parsed(lines.decode())
    seqs = [row["seq"] for row in found["row"]]
    assert seqs == list(range(1, len(seqs) + 1))
    assert found["end"]
