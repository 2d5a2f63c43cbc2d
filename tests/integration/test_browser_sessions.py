"""Sessions of web pages: a cookie that no script reads, and that counts only in requests from pages of this server."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

from chatserver.routes import CALLS
from chatserver.storage.database import single_connection
from tests.support.cookies import ATTRIBUTES, OWN_PAGE, Cookie, request_session, sign_in_with_cookie
from tests.support.devices import Socket, sign_in
from tests.support.front import ROUTE, in_front
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

ALLOWED = "https://www.example.com"
FOREIGN = "https://evil.example"

_numbers = itertools.count(1)


def new_number() -> str:
    return f"+1516{next(_numbers):07d}"


@pytest.fixture(scope="module")
def one(postgres: Any, migrated_template: str) -> Iterator[ServerProcess]:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_ALLOWED_ORIGINS=ALLOWED) as running:
        running.wait_ready()
        yield running


@pytest.fixture
async def stranger(one: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=one.url, timeout=90, verify=NO_TLS, trust_env=False) as http:
        yield http


@pytest.fixture
async def ana(stranger: httpx.AsyncClient) -> Cookie:
    return await sign_in_with_cookie(stranger, new_number())


async def test_the_cookie_is_for_this_chat_alone_and_lives_as_long_as_its_device(
    one: ServerProcess, stranger: httpx.AsyncClient
) -> None:
    answer = await request_session(stranger, new_number(), **OWN_PAGE)
    assert answer.status_code == 201
    assert set(answer.json()) == {"device_id", "user"}
    ana = Cookie(answer, "")
    async with ana.http(one) as http:
        (device,) = (await http.get("/api/devices")).json()
    lifetime = dt.datetime.fromisoformat(device["expires_at"]) - dt.datetime.fromisoformat(device["created_at"])
    assert re.fullmatch("__Host-chat-[0-9a-f]{16}", ana.name)
    assert ana.line == f"{ana.name}={ana.token}; Max-Age={lifetime.total_seconds():.0f}; {ATTRIBUTES}"
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", ana.token)
    assert device["current"]


async def test_a_session_that_requests_no_cookie_gets_none(one: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=one.url, verify=NO_TLS, trust_env=False) as http:
        device = await sign_in(one)
        answer = await http.get("/api/users/me", headers=device.headers)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": FOREIGN}, 403), ({"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}, 403), ({}, 201),
     ({"Origin": ALLOWED, "Sec-Fetch-Site": "same-site"}, 201)],
)  # fmt: skip
async def test_no_other_page_signs_the_user_in(
    stranger: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await request_session(stranger, new_number(), **headers)
    assert answer.status_code == status
    assert ("Set-Cookie" in answer.headers) == (status == 201)


OWN = "own"
PAGES = [
    # Sec-Fetch-Site, Origin, a read, a change
    ("same-origin", None, 200, 204),
    ("same-origin", OWN, 200, 204),
    # A proxy in front may have another name for this host.
    ("same-origin", "https://named.otherwise", 200, 204),
    ("none", None, 200, 204),
    ("same-site", ALLOWED, 200, 204),
    ("cross-site", ALLOWED, 200, 204),
    (None, OWN, 200, 204),
    (None, ALLOWED, 200, 204),
    # An old browser's read, or a program, which has no business with cookies.
    (None, None, 200, 403),
    ("same-site", None, 403, 403),
    ("same-site", OWN, 403, 403),
    ("cross-site", None, 403, 403),
    ("cross-site", FOREIGN, 403, 403),
    ("cross-site", "null", 403, 403),
    ("nonsense", None, 403, 403),
    ("none", FOREIGN, 403, 403),
    (None, FOREIGN, 403, 403),
    (None, "null", 403, 403),
    (None, "", 403, 403),
]


@pytest.mark.parametrize(("site", "origin", "read", "change"), PAGES)
async def test_the_cookie_counts_only_in_requests_of_own_and_allowed_pages(
    one: ServerProcess, ana: Cookie, site: str | None, origin: str | None, read: int, change: int
) -> None:
    given = {"Sec-Fetch-Site": site, "Origin": one.url if origin == OWN else origin}
    headers = {"Cookie": ana.pair, **{name: value for name, value in given.items() if value is not None}}
    async with httpx.AsyncClient(base_url=one.url, headers=headers, verify=NO_TLS, trust_env=False) as http:
        answers = [await http.get("/api/users/me"), await http.post("/api/receipts", json={"chats": {}})]
    assert [answer.status_code for answer in answers] == [read, change]
    for answer in answers:
        # Whoever is refused must not be able to sign the user out.
        assert "Set-Cookie" not in answer.headers
        assert answer.status_code != 403 or answer.json()["code"] == "forbidden"


SIGNED_IN = [call for call in CALLS if call.signed_in]


@pytest.mark.parametrize("call", SIGNED_IN, ids=[call.route for call in SIGNED_IN])
async def test_every_call_refuses_foreign_pages_and_clears_a_dead_cookie(
    one: ServerProcess, ana: Cookie, call: Any
) -> None:
    path = re.sub(r"\{\w+\}", "1", call.path)
    async with ana.http(one, **{"Sec-Fetch-Site": "cross-site"}) as http:
        foreign = await http.request(call.method, path)
        # An image of another page.
        assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
        assert "Set-Cookie" not in foreign.headers
    async with ana.http(one, Cookie=f"{ana.name}=nonsense") as http:
        dead = await http.request(call.method, path)
        assert (dead.status_code, dead.json()["code"]) == (401, "unauthenticated")
        assert dead.headers.get_list("Set-Cookie") == [ana.cleared]


async def test_the_authorization_header_goes_first(one: ServerProcess, ana: Cookie) -> None:
    bob = await sign_in(one)
    async with ana.http(one) as http:
        assert (await http.get("/api/users/me")).json()["user_id"] == ana.device.user_id
        assert (await http.get("/api/users/me", headers=bob.headers)).json()["user_id"] == bob.user_id
        for header in ("Bearer nonsense", "Bearer", "Basic eDp5"):
            refused = await http.get("/api/users/me", headers={"Authorization": header})
            assert refused.status_code == 401
            assert "Set-Cookie" not in refused.headers


async def test_two_cookies_of_one_name_are_not_guessed_between(one: ServerProcess, ana: Cookie) -> None:
    async with ana.http(one, Cookie=f"{ana.name}=x; {ana.pair}") as http:
        refused = await http.get("/api/users/me")
    assert refused.status_code == 401
    assert refused.headers["Set-Cookie"] == ana.cleared
    async with ana.http(one, Cookie=f"a={ana.name}=x;{ana.pair};  other{ana.name}=y") as http:
        assert (await http.get("/api/users/me")).status_code == 200


@pytest.mark.parametrize("path", ["/api/auth/session", "/api/devices/{device_id}", "/api/users/me"])
async def test_signing_out_clears_the_cookie(one: ServerProcess, ana: Cookie, path: str) -> None:
    async with ana.http(one) as http:
        out = await http.delete(path.format(device_id=ana.device.device_id))
        assert out.status_code == 204
        assert out.headers.get_list("Set-Cookie") == [ana.cleared]
        assert (await http.get("/api/users/me")).status_code == 401


async def test_signing_out_another_device_leaves_the_cookie(
    one: ServerProcess, stranger: httpx.AsyncClient, ana: Cookie
) -> None:
    other = await sign_in_with_cookie(stranger, ana.device.phone_number)
    async with ana.http(one) as http:
        out = await http.delete(f"/api/devices/{other.device.device_id}")
        assert out.status_code == 204
        assert "Set-Cookie" not in out.headers


async def test_the_cookie_of_an_expired_session_is_cleared(one: ServerProcess, ana: Cookie) -> None:
    async with single_connection(lambda: one.dsn, "test") as database:
        await database.execute("UPDATE devices SET expires_at = now() WHERE device_id = $1", ana.device.device_id)
    async with ana.http(one) as http:
        refused = await http.get("/api/users/me")
    assert refused.status_code == 401
    assert refused.headers["Set-Cookie"] == ana.cleared


@pytest.mark.parametrize(
    ("origin", "code"), [(OWN, None), (ALLOWED, None), (FOREIGN, 4003), ("null", 4003), (None, 4003)]
)
async def test_a_web_socket_with_the_cookie_is_for_own_and_allowed_pages(
    one: ServerProcess, ana: Cookie, origin: str | None, code: int | None
) -> None:
    headers = {"Cookie": ana.pair, **({"Origin": one.url if origin == OWN else origin} if origin else {})}
    async with connect(f"{one.ws_url}/api/ws", additional_headers=headers, proxy=None) as connection:
        socket = Socket(connection)
        if code is None:
            await socket.of_type("welcome", user_id=ana.device.user_id)
        else:
            assert await socket.close_code() == code
            assert socket.frames == []


async def test_a_web_socket_with_a_dead_cookie_is_closed_and_clears_it(one: ServerProcess, ana: Cookie) -> None:
    headers = {"Cookie": f"{ana.name}=nonsense", "Origin": one.url}
    async with connect(f"{one.ws_url}/api/ws", additional_headers=headers, proxy=None) as connection:
        assert await Socket(connection).close_code() == 4001
        assert connection.response is not None
        assert connection.response.headers.get_all("Set-Cookie") == [ana.cleared]


async def test_a_ticket_can_be_had_with_the_cookie(one: ServerProcess, ana: Cookie) -> None:
    async with ana.http(one) as http:
        ticket = (await http.post("/api/ws-ticket")).json()["ticket"]
    async with connect(f"{one.ws_url}/api/ws?ticket={ticket}", proxy=None) as connection:
        await Socket(connection).of_type("welcome", user_id=ana.device.user_id)


async def test_without_tls_a_development_server_has_a_plain_cookie(postgres: Any, migrated_template: str) -> None:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_PAGE_SCHEME="http") as server:
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            ana = await sign_in_with_cookie(http, new_number())
            assert re.fullmatch("chat-[0-9a-f]{16}", ana.name)
            assert ana.line.endswith("; Path=/; HttpOnly; SameSite=Strict")
            # httpx sends it now, as a browser does.
            assert (await http.get("/api/users/me")).json()["user_id"] == ana.device.user_id


async def test_through_haproxy_the_cookie_works_and_is_in_no_log_or_metric(one: ServerProcess, tmp_path: Path) -> None:
    async with in_front(tmp_path, ROUTE, behind=int(one.url.rsplit(":", 1)[1])) as front:
        async with httpx.AsyncClient(
            verify=front.trusting(), base_url=front.https, timeout=30, headers={"Origin": front.https}
        ) as http:
            ana = await sign_in_with_cookie(http, new_number())
            assert (await http.get("/api/users/me")).json()["user_id"] == ana.device.user_id
            assert (await http.post("/api/receipts", json={"chats": {}})).status_code == 204
            # A page of the same name by plain HTTP is another one.
            plain = front.https.replace("https", "http")
            assert (await http.post("/api/receipts", json={"chats": {}}, headers={"Origin": plain})).status_code == 403
            headers = {"Cookie": ana.pair, "Origin": front.https}
            url = f"wss{front.https.removeprefix('https')}/api/ws"
            async with connect(url, ssl=front.trusting(), additional_headers=headers, proxy=None) as connection:
                await Socket(connection).of_type("welcome", user_id=ana.device.user_id)
            assert (await http.delete("/api/auth/session")).headers["Set-Cookie"] == ana.cleared
            assert dict(http.cookies) == {}
            text = (await http.get(f"{front.statistics}/metrics?scope=server")).text
        assert front.logged("request")
        text += front.log_text()
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        text += (await http.get(one.metrics_url)).text + one.log_text()
    assert "/api/users/me" in text
    for secret in (ana.token, "__Host-"):
        assert secret not in text
