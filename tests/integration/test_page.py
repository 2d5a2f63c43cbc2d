"""The page in a real Chromium against a real server: what it shows and does when its connection fails."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.async_api import Page, Route, WebSocketRoute, async_playwright, expect

from tests.support.devices import Device, sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.integration

WEB = Path(__file__).parents[2] / "web"
WAIT_MS = 20_000


@pytest.fixture
def server(read_dsn: Callable[[], str]) -> Iterator[ServerProcess]:
    with ServerProcess(read_dsn(), "one", CHAT_WEB_ROOT=str(WEB)) as server:
        server.wait_ready()
        yield server


@asynccontextmanager
async def a_page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = await browser.new_page()
        page.set_default_timeout(WAIT_MS)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        await browser.close()
        assert complaints == []


async def enter(page: Page, server: ServerProcess, name: str) -> None:
    await page.goto(f"{server.url}/")
    await page.get_by_label("Phone number").fill(f"+1415{uuid.uuid4().int % 10**7:07d}")
    await page.get_by_role("button", name="Send me a code").click()
    await page.get_by_label("Username").fill(name)
    await page.get_by_role("button", name="Sign in").click()


async def write(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.get_by_role("button", name="Send", exact=True).click()


async def test_a_ticket_that_is_too_old_is_replaced_and_a_dead_session_signs_out(server: ServerProcess) -> None:
    async with a_page() as page:
        tickets: list[str] = []

        async def first_is_stale(route: Route) -> None:
            tickets.append(route.request.url)
            if len(tickets) == 1:
                await route.fulfill(status=201, json={"ticket": "stale", "expires_in": 30})
            else:
                await route.continue_()

        await page.route("**/api/ws-ticket", first_is_stale)
        await enter(page, server, "ana")
        await page.get_by_text("on one").wait_for()
        assert len(tickets) == 2
        await page.unroute("**/api/ws-ticket")
        await page.route("**/api/ws-ticket", lambda r: r.fulfill(status=201, json={"ticket": "x", "expires_in": 30}))
        await page.reload()
        await page.get_by_role("button", name="Send me a code").wait_for()


async def test_who_asks_again_too_early_can_still_use_the_code_they_have(server: ServerProcess) -> None:
    number = f"+1415{uuid.uuid4().int % 10**7:07d}"
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        code = (await http.post("/api/auth/code", json={"phone_number": number})).json()["dev_code"]
    async with a_page() as page:
        await page.goto(f"{server.url}/")
        await page.get_by_label("Phone number").fill(number)
        await page.get_by_role("button", name="Send me a code").click()
        await page.get_by_text("A code for this number was just sent").wait_for()
        await page.locator("#enter-code [name=code]").fill(code)
        await page.get_by_label("Username").fill("ana")
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_text("on one").wait_for()


async def test_a_page_that_the_server_does_not_allow_says_so_and_stays_away(server: ServerProcess) -> None:
    async with a_page() as page:
        sockets: list[WebSocketRoute] = []

        async def refuse(socket: WebSocketRoute) -> None:
            sockets.append(socket)
            await socket.close(code=4003, reason="this page's origin is not allowed")

        await page.route_web_socket("**/api/ws*", refuse)
        await enter(page, server, "ana")
        await page.get_by_text("refused: the server does not allow pages of this address").wait_for()
        assert len(sockets) == 1


async def test_what_waits_has_a_clock_and_a_chat_heals_after_a_reconnect(server: ServerProcess) -> None:
    async with a_page() as page:
        sockets: list[WebSocketRoute] = []

        async def pass_on(socket: WebSocketRoute) -> None:
            sockets.append(socket)
            socket.connect_to_server()

        await page.route_web_socket("**/api/ws*", pass_on)
        ben = await sign_in(server, "ben")
        await enter(page, server, "ana")
        await page.get_by_text("on one").wait_for()
        await page.get_by_label("Start a chat with").fill("ben")
        await page.get_by_role("button", name="Chat", exact=True).click()
        await write(page, "before")
        await page.locator("#messages .sent").wait_for()
        # No ticket, no way back.
        await page.route("**/api/ws-ticket", lambda route: route.abort())
        await sockets[-1].close(code=1012)
        await page.get_by_text("reconnecting").wait_for()
        await write(page, "waits")
        await page.locator("#messages .pending").wait_for()
        await _send_many(ben, server, "ana", 130)
        await page.unroute("**/api/ws-ticket")
        await page.locator("#messages").get_by_text("missed 129", exact=False).wait_for()
        await expect(page.locator("#messages .pending")).to_have_count(0, timeout=WAIT_MS)
        await page.locator("#messages").get_by_text("waits").wait_for()
        texts = [text.split(" ")[1][:3] for text in await page.locator("#messages li:not(.own)").all_inner_texts()]
        numbers = [int("".join(c for c in text if c.isdigit())) for text in texts]
        assert numbers == list(range(numbers[0], 130))
        assert await page.locator("#messages").get_by_text("waits").count() == 1
        async with ben.http(server) as http:
            rows = (await http.get("/api/messages", params={"limit": 1000})).json()
        assert [row["text"] for row in rows if row["from"] == "ana"] == ["before", "waits"]


async def _send_many(device: Device, server: ServerProcess, to: str, count: int) -> None:
    async with device.http(server) as http:
        for number in range(count):
            answer = await http.post("/api/messages", json={"to": to, "text": f"missed {number:03d}."})
            assert answer.status_code == 200
            await asyncio.sleep(0)
