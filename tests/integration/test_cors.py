"""Pages of other origins: allowed ones use the API with a token, all others read nothing."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from tests.support.cookies import sign_in_with_cookie
from tests.support.devices import sign_in
from tests.support.front import ROUTE, in_front
from tests.support.otherpages import serving_pages
from tests.support.plainhttp import NO_TLS
from tests.support.ports import free_ports
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.async_api import BrowserContext

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

ALLOWED_PORT, OTHER_PORT = free_ports(2)
ALLOWED, OTHER = (f"http://localhost:{port}" for port in (ALLOWED_PORT, OTHER_PORT))
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
OF_PREFLIGHTS = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-Id",
    "Access-Control-Max-Age": "7200",
}
EXPOSED = "Content-Disposition, Retry-After, X-Chat-Server, X-More, X-Next-Since, X-Request-Id"


@pytest.fixture(scope="module")
def one(postgres: Any, migrated_template: str) -> Iterator[ServerProcess]:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    settings = {"CHAT_ALLOWED_ORIGINS": f"{ALLOWED},https://www.example.com"}
    with ServerProcess(dsn, "one", **settings) as running:
        running.wait_ready()
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http(one: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=one.url, timeout=30, verify=NO_TLS, trust_env=False) as client:
        yield client


def cors_headers(answer: httpx.Response) -> dict[str, str]:
    return {name.title(): value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", ["/api/users/me", "/api/messages", "/api/chats/12/messages/3", "/api/nowhere"])
async def test_a_preflight_of_an_allowed_origin_needs_no_token(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.options(path, headers={"Origin": ALLOWED, **PREFLIGHT})
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = {"Access-Control-Allow-Origin": ALLOWED, "Access-Control-Expose-Headers": EXPOSED}
    assert cors_headers(answer) == OF_PREFLIGHTS | allowed
    assert answer.headers["Vary"] == "Origin"
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "headers",
    [{"Origin": OTHER, **PREFLIGHT}, {"Origin": "null", **PREFLIGHT}, {"Origin": "*", **PREFLIGHT},
     {"Origin": "http://www.example.com", **PREFLIGHT}, {"Origin": "https://www.example.com:444", **PREFLIGHT},
     {"Origin": "https://www.example.com.evil.example", **PREFLIGHT}, PREFLIGHT],
)  # fmt: skip
async def test_no_other_preflight_is_answered(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.options("/api/users/me", headers=headers)
    assert answer.status_code == 405
    assert cors_headers(answer) == {}
    assert answer.headers["Vary"] == "Origin"


async def test_options_without_a_preflights_headers_is_a_method_like_any_other(http: httpx.AsyncClient) -> None:
    answer = await http.options("/api/users/me", headers={"Origin": ALLOWED})
    assert answer.status_code == 405
    assert answer.headers["Allow"]


async def test_answers_and_problems_can_be_read_by_the_allowed_origin_alone(
    one: ServerProcess, http: httpx.AsyncClient
) -> None:
    ana = await sign_in(one)
    calls = (("GET", "/api/messages", 200), ("POST", "/api/messages", 400), ("GET", "/api/nowhere", 404))
    for method, path, status in calls:
        for origin, expected in ((ALLOWED, ALLOWED), (OTHER, None), (None, None)):
            headers = {**ana.headers, **({"Origin": origin} if origin else {})}
            answer = await http.request(method, path, headers=headers)
            assert answer.status_code == status
            assert answer.headers.get("Access-Control-Allow-Origin") == expected
            assert (answer.headers.get("Access-Control-Expose-Headers") == EXPOSED) == (expected is not None)
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert answer.headers["Vary"] == "Origin"
    refused = await http.get("/api/users/me", headers={"Origin": ALLOWED})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, ALLOWED)


async def test_what_is_no_call_has_no_such_headers(http: httpx.AsyncClient) -> None:
    for path in ("/livez", "/openapi.json", "/nowhere"):
        answer = await http.get(path, headers={"Origin": ALLOWED})
        assert cors_headers(answer) == {}


async def test_preflights_count_among_the_requests_of_an_address(postgres: Any, migrated_template: str) -> None:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_ALLOWED_ORIGINS=ALLOWED, CHAT_REQUESTS_PER_ADDRESS_PER_MINUTE=3) as server:
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as client:
            answers = [await client.options("/api/chats", headers={"Origin": ALLOWED, **PREFLIGHT}) for _ in range(5)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[0] == 204
    assert statuses[-1] == 429
    assert answers[-1].headers["Access-Control-Allow-Origin"] == ALLOWED


async def test_through_haproxy_an_allowed_page_has_its_headers_and_compressed_answers(
    one: ServerProcess, tmp_path: Path
) -> None:
    ana = await sign_in(one)
    async with in_front(tmp_path, ROUTE, behind=int(one.url.rsplit(":", 1)[1])) as front:
        headers = {"Origin": ALLOWED, **ana.headers}
        async with httpx.AsyncClient(verify=front.trusting(), base_url=front.https, headers=headers) as client:
            preflight = await client.options("/api/messages", headers=PREFLIGHT)
            assert preflight.status_code == 204
            assert cors_headers(preflight).items() >= OF_PREFLIGHTS.items()
            text = "many words " * 500
            sent = await client.post("/api/messages", json={"to": ana.phone_number, "text": text})
            polled = await client.get("/api/messages", headers={"Accept-Encoding": "gzip"})
    for answer in (preflight, sent, polled):
        assert answer.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert polled.headers["Vary"] == "Accept-Encoding, Origin"
    assert polled.headers["Content-Encoding"] == "gzip"
    assert [row["text"] for row in polled.json()] == [text]


@pytest_asyncio.fixture(loop_scope="module")
async def pages() -> AsyncIterator[None]:
    """Pages of two other origins: to browsers, localhost is another site than 127.0.0.1."""
    async with serving_pages(ALLOWED_PORT, OTHER_PORT):
        yield


USE = """async ([url, token, credentials]) => {
    const headers = {Authorization: `Bearer ${token}`, "Content-Type": "application/json"};
    const to = {method: "PATCH", headers, credentials, body: '{"about": "elsewhere"}'};
    const changed = await fetch(`${url}/api/users/me`, to);
    const polled = await fetch(`${url}/api/messages`, {headers, credentials});
    return [changed.status, (await changed.json()).about, polled.headers.get("X-Next-Since") !== null];
}"""


@pytest.mark.usefixtures("pages")
async def test_a_browser_lets_a_page_of_an_allowed_origin_use_the_api_with_a_token(
    context: BrowserContext, one: ServerProcess
) -> None:
    ana = await sign_in(one, f"ana{uuid.uuid4().hex[:8]}")
    page = await context.new_page()
    await page.goto(ALLOWED)
    assert await page.evaluate(USE, [one.url, ana.token, "omit"]) == [200, "elsewhere", True]
    tried = f"given => ({USE})(given).catch(error => `${{error}}`)"
    for origin, credentials in ((ALLOWED, "include"), (OTHER, "omit")):
        await page.goto(origin)
        assert await page.evaluate(tried, [one.url, ana.token, credentials]) == "TypeError: Failed to fetch"


@pytest.mark.usefixtures("pages")
async def test_a_browser_sends_no_cookie_from_another_site(
    context: BrowserContext, one: ServerProcess, http: httpx.AsyncClient
) -> None:
    ana = await sign_in_with_cookie(http, f"+1518{uuid.uuid4().int % 10**7:07d}")
    await context.add_cookies(
        [
            {
                "name": ana.name,
                "value": ana.token,
                "domain": "127.0.0.1",
                "path": "/",
                "secure": True,
                "httpOnly": True,
                "sameSite": "Strict",
            }
        ]
    )
    page = await context.new_page()
    typed = await page.goto(f"{one.url}/api/users/me")
    assert typed is not None
    assert typed.status == 200
    before = len(one.events())
    await page.goto(ALLOWED)
    tries = "url => fetch(`${url}/api/users/me`, {mode: 'no-cors', credentials: 'include'}).catch(() => {})"
    await page.evaluate(tries, one.url)
    (event,) = [event for event in one.events()[before:] if event.get("route") == "/api/users/me"]
    assert event["status"] == 401
