"""Security headers: on every answer of the API, on every problem, and on the page, which needs other ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.devices import sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

OF_ALL = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OF_DATA = {
    **OF_ALL,
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@pytest.fixture(scope="module")
def server(postgres: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root: Path = tmp_path_factory.mktemp("web")
    (root / "index.html").write_text("<!doctype html><title>Chat</title>")
    (root / "app.js").write_text("export {};")
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_WEB_ROOT=str(root)) as running:
        running.wait_ready()
        yield running


def assert_headers(answer: httpx.Response, wanted: dict[str, str]) -> None:
    assert {name: answer.headers.get_list(name) for name in wanted} == {name: [wanted[name]] for name in wanted}


async def test_answers_with_secrets_are_for_who_asked_alone(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
        number = {"phone_number": "+14155550177"}
        made = await http.post("/api/auth/code", json=number)
        session = await http.post("/api/auth/session", json={**number, "code": made.json()["dev_code"]})
        token = {"Authorization": f"Bearer {session.json()['token']}"}
        ticket = await http.post("/api/ws-ticket", headers=token)
        me = await http.get("/api/users/me", headers=token)
        rows = await http.get("/api/messages", headers=token)
        out = await http.delete("/api/auth/session", headers=token)
    for answer, status in ((made, 202), (session, 201), (ticket, 201), (me, 200), (rows, 200), (out, 204)):
        assert answer.status_code == status
        assert_headers(answer, OF_DATA)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/api/messages", 405),
        ("GET", "/api/users/me", 401),
        ("GET", "/api/ws", 426),
        ("POST", "/api/auth/code", 422),
    ],
)
async def test_problems_and_probes_are_data_too(server: ServerProcess, method: str, path: str, status: int) -> None:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
        answer = await http.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert_headers(answer, OF_DATA)


async def test_what_is_no_http_is_answered_like_the_rest(server: ServerProcess) -> None:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"NONSENSE\r\n\r\n")
    await writer.drain()
    async with asyncio.timeout(30):
        answer = (await reader.read()).decode().lower()
    writer.close()
    assert answer.startswith("http/1.1 400 ")
    for name, value in OF_DATA.items():
        assert f"{name}: {value}".lower() in answer


async def test_the_page_may_load_its_own_parts_and_be_framed_by_nobody(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
        for path in ("/", "/app.js"):
            answer = await http.get(path)
            assert answer.status_code == 200
            assert_headers(answer, OF_ALL)
            (policy,) = answer.headers.get_list("Content-Security-Policy")
            directives = {directive.split()[0]: directive.split()[1:] for directive in policy.split(";")}
            assert directives["default-src"] == ["'self'"]
            assert directives["frame-ancestors"] == directives["object-src"] == directives["base-uri"] == ["'none'"]
            assert "unsafe" not in policy
            # A page of another version must never meet this server.
            assert answer.headers.get_list("Cache-Control") == ["no-cache"]


async def test_a_foreign_page_gets_no_permission_to_read(server: ServerProcess) -> None:
    ana = await sign_in(server, "ana")
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
        foreign = {"Origin": "https://evil.example", **ana.headers}
        for method, path in (("GET", "/api/users/me"), ("OPTIONS", "/api/users/me"), ("POST", "/api/ws-ticket")):
            answer = await http.request(method, path, headers=foreign)
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
