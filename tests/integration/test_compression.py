"""Compressed answers of a real server: the same as others, of another length each time, and never with a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.http.compression import LEAST_BYTES, THREAD_BYTES
from tests.support.devices import sign_in
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from tests.support.devices import Device
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration


async def fill(device: Device, process: ServerProcess, text: str, count: int) -> int:
    """Send oneself messages; returns the chat."""
    async with device.http(process) as http:
        for _ in range(count):
            sent = await http.post("/api/messages", json={"to": device.name, "text": text})
    chat_id: int = sent.json()["chat_id"]
    return chat_id


@pytest.mark.parametrize(("text", "count"), [("words " * 20, 20), ("words " * 2000, 10)])
async def test_a_client_that_accepts_it_gets_the_same_in_fewer_bytes(
    process: ServerProcess, text: str, count: int
) -> None:
    ana = await sign_in(process)
    chat_id = await fill(ana, process, text, count)
    sizes = set()
    async with ana.http(process) as http:
        for path in ("/api/messages", f"/api/chats/{chat_id}/messages"):
            plain = await http.get(path, headers={"Accept-Encoding": "identity"})
            assert "Content-Encoding" not in plain.headers
            assert (len(plain.content) > THREAD_BYTES) == (count == 10)
            for _ in range(8):
                packed = await http.get(path, headers={"Accept-Encoding": "gzip"})
                assert packed.headers["Content-Encoding"] == "gzip"
                assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
                assert packed.json() == plain.json()
                assert int(packed.headers["Content-Length"]) < len(plain.content) / 2
                sizes.add(packed.headers["Content-Length"])
        head = await http.head(path, headers={"Accept-Encoding": "gzip"})
        assert (head.headers["Content-Encoding"], head.content) == ("gzip", b"")
    # Sixteen random lengths of padding.
    assert len(sizes) > 4


async def test_small_answers_and_answers_with_secrets_are_sent_as_they_are(process: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as http:
        number = {"phone_number": "+14155550188"}
        made = await http.post("/api/auth/code", json=number)
        session = await http.post("/api/auth/session", json={**number, "code": made.json()["dev_code"]})
        token = {"Authorization": f"Bearer {session.json()['token']}"}
        ticket = await http.post("/api/ws-ticket", headers=token)
        me = await http.get("/api/users/me", headers=token)
    for answer in (made, session, ticket, me):
        assert answer.is_success
        assert "gzip" in answer.request.headers["Accept-Encoding"]
        assert len(answer.content) < LEAST_BYTES
        assert "Content-Encoding" not in answer.headers
        assert "Vary" not in answer.headers


async def test_a_changes_answer_is_never_compressed_however_large_it_is(process: ServerProcess) -> None:
    ana = await sign_in(process, "ana")
    members = [(await sign_in(process)).phone_number for _ in range(16)]
    async with ana.http(process) as http:
        made = await http.post("/api/groups", json={"group_name": "Team", "members": members})
        read = await http.get(f"/api/chats/{made.json()['chat_id']}")
    assert len(made.content) > LEAST_BYTES
    assert "Content-Encoding" not in made.headers
    assert read.headers["Content-Encoding"] == "gzip"


async def test_the_documents_have_a_tag_for_each_coding(process: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as http:
        for path in ("/openapi.json", "/asyncapi.json", "/docs"):
            plain = await http.get(path, headers={"Accept-Encoding": "identity"})
            packed = await http.get(path, headers={"Accept-Encoding": "gzip"})
            assert packed.headers["Content-Encoding"] == "gzip"
            assert packed.content == plain.content
            assert int(packed.headers["Content-Length"]) < len(plain.content) / 2
            assert packed.headers["ETag"] != plain.headers["ETag"]
            for answer in (plain, packed):
                asked = {"Accept-Encoding": answer.request.headers["Accept-Encoding"]}
                again = await http.get(path, headers={**asked, "If-None-Match": answer.headers["ETag"]})
                assert (again.status_code, again.headers["Vary"]) == (304, "Accept-Encoding")
