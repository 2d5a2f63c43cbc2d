"""The session of the page in a real Chromium: its scripts see no token, and chats on one host do not share it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.support.browser import WEB, open_tab
from tests.support.devices import sign_in
from tests.support.otherpages import serving_pages
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import BrowserContext

    from tests.support.browser import Tab

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


def named(start: str) -> str:
    return f"{start}{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def chats(postgres: Any, migrated_template: str) -> Iterator[list[ServerProcess]]:
    """Two chats on one host."""
    first, second = (postgres.dsn(postgres.create_database(migrated_template)) for _ in range(2))
    page = {"CHAT_WEB_ROOT": str(WEB)}
    with (
        ServerProcess(first, "one", CHAT_SECRET_KEY="the key of the first chat", **page) as one,
        ServerProcess(second, "two", CHAT_SECRET_KEY="the key of the second chat", **page) as two,
    ):
        one.wait_ready()
        two.wait_ready()
        yield [one, two]


async def test_two_chats_on_one_host_do_not_sign_each_other_out(
    context: BrowserContext, chats: list[ServerProcess]
) -> None:
    tabs = [await open_tab(context, server) for server in chats]
    for tab in tabs:
        await tab.enter(named("ana"))
        await tab.connected()
    cookies = {cookie["name"]: cookie for cookie in await context.cookies()}
    assert len(cookies) == len(chats)
    for name, cookie in cookies.items():
        assert name.startswith("__Host-chat-")
        assert cookie["httpOnly"]
        assert cookie["secure"]
        assert cookie["sameSite"] == "Strict"
    for tab in tabs:
        await tab.page.reload()
        await tab.connected()
    await tabs[0].page.get_by_role("button", name="Sign out").click()
    await tabs[0].page.get_by_role("button", name="Send me a code").wait_for()
    assert len(await context.cookies()) == 1
    await tabs[1].page.reload()
    await tabs[1].connected()


async def test_no_script_of_the_page_can_read_the_token(tab: Tab) -> None:
    await tab.enter(named("ana"))
    await tab.connected()
    (cookie,) = await tab.page.context.cookies()
    readable = await tab.page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
    assert "user_id" in readable
    assert cookie["value"] not in readable
    assert "token" not in readable


async def test_a_session_of_an_earlier_page_goes_on_with_its_token(tab: Tab, page_server: ServerProcess) -> None:
    device = await sign_in(page_server, named("ana"), phone_number=f"+1417{uuid.uuid4().int % 10**7:07d}")
    await tab.page.goto(f"{page_server.url}/")
    session = {"token": device.token, "device_id": device.device_id, "user": {"user_id": device.user_id}}
    await tab.page.evaluate("s => localStorage.setItem('chatcluster.session', JSON.stringify(s))", session)
    await tab.page.reload()
    await tab.connected()
    assert await tab.page.context.cookies() == []
    await expect(tab.page.locator("#state")).to_have_text("on one")


@pytest_asyncio.fixture(loop_scope="module")
async def other_page() -> AsyncIterator[str]:
    """The address of another application on the same host, which to browsers is the same site."""
    async with serving_pages(0) as (port,):
        yield f"http://127.0.0.1:{port}/"


async def test_another_page_can_do_nothing_with_the_session(
    context: BrowserContext, page_server: ServerProcess, other_page: str
) -> None:
    owner = await open_tab(context, page_server)
    await owner.enter(named("ana"))
    await owner.connected()
    attacker = await context.new_page()
    await attacker.goto(other_page)
    tries = """async url => {
        const tried = [fetch(url + "/api/users/me", {credentials: "include"}),
                       fetch(url + "/api/auth/session", {method: "DELETE", credentials: "include"}),
                       // Needs no preflight: the browser sends it, and keeps the answer from the page.
                       fetch(url + "/api/receipts", {method: "POST", mode: "no-cors", credentials: "include",
                                                     body: '{"chats": {}}'}),
                       new Promise((resolve, reject) => {
                           const socket = new WebSocket(url.replace("http", "ws") + "/api/ws", ["chat.v1"]);
                           socket.onmessage = resolve;
                           socket.onclose = ({code}) => reject(code);
                       })];
        return (await Promise.allSettled(tried)).map(({status, reason}) => `${status} ${reason}`);
    }"""
    failed = "rejected TypeError: Failed to fetch"
    assert await attacker.evaluate(tries, page_server.url) == [failed, failed, failed, "rejected 4003"]
    routes = [event["route"] for event in page_server.events() if event.get("status") == 403]
    assert sorted(routes) == ["/api/receipts", "/api/users/me"]
    await owner.page.reload()
    await owner.connected()
