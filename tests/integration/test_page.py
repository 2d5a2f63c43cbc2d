"""The page in a real Chromium against a real server: what it shows and does when its connection fails."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.async_api import Route, WebSocketRoute, expect

from tests.support.browser import WAIT_MS
from tests.support.devices import Device, sign_in
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from tests.support.browser import Tab
    from tests.support.server import ServerProcess

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


def named(start: str) -> str:
    return f"{start}{uuid.uuid4().hex[:8]}"


async def test_a_ticket_that_is_too_old_is_replaced_and_a_dead_session_signs_out(tab: Tab) -> None:
    page = tab.page
    tickets: list[str] = []

    async def first_is_stale(route: Route) -> None:
        tickets.append(route.request.url)
        if len(tickets) == 1:
            await route.fulfill(status=201, json={"ticket": "stale", "expires_in": 30})
        else:
            await route.continue_()

    await page.route("**/api/ws-ticket", first_is_stale)
    await tab.enter(named("ana"))
    await tab.connected()
    assert len(tickets) == 2
    await page.unroute("**/api/ws-ticket")
    await page.route("**/api/ws-ticket", lambda r: r.fulfill(status=201, json={"ticket": "x", "expires_in": 30}))
    await page.reload()
    await page.get_by_role("button", name="Send me a code").wait_for()


async def test_who_asks_again_too_early_can_still_use_the_code_they_have(tab: Tab, page_server: ServerProcess) -> None:
    page, number = tab.page, f"+1415{uuid.uuid4().int % 10**7:07d}"
    async with httpx.AsyncClient(base_url=page_server.url, verify=NO_TLS, trust_env=False) as http:
        code = (await http.post("/api/auth/code", json={"phone_number": number})).json()["dev_code"]
    await page.goto(f"{page_server.url}/")
    await page.get_by_label("Phone number").fill(number)
    await page.get_by_role("button", name="Send me a code").click()
    await page.get_by_text("A code was just sent to this number").wait_for()
    await page.locator("#enter-code [name=code]").fill(code)
    await page.get_by_label("Username").fill(named("ana"))
    await page.get_by_role("button", name="Sign in").click()
    await tab.connected()


async def test_a_page_that_may_not_come_back_says_so_and_stays_away(tab: Tab) -> None:
    page = tab.page
    sockets: list[WebSocketRoute] = []
    codes = [4003, 4009, 4008]

    async def refuse(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if codes:
            await socket.close(code=codes.pop(0))
        else:
            await tab.pass_on(socket)

    await page.route_web_socket("**/api/ws*", refuse)
    await tab.enter(named("ana"))
    await page.get_by_text("rejected: the server does not allow pages from this origin").wait_for()
    assert len(sockets) == 1
    await page.reload()
    await page.get_by_role("button", name="Use it here").wait_for()
    assert len(sockets) == 2
    # Taken over by hand; then too slow, which is no reason to stay away.
    await page.get_by_role("button", name="Use it here").click()
    await tab.connected()
    assert len(sockets) == 4


async def test_waits_grow_until_a_connection_was_steady_and_a_silent_one_is_left(tab: Tab) -> None:
    page = tab.page
    await tab.enter(named("ana"))
    await tab.connected()
    welcome = {"type": "welcome", "server": "script", "limits": {}, "ping_seconds": 20}
    sockets: list[WebSocketRoute] = []
    heard: list[str] = []
    steady = False

    async def greet(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.on_message(lambda data: heard.append(str(data)))
        socket.send(json.dumps(welcome))
        if not steady:
            await socket.close(code=1012)

    async def waits_for(most_ms: int) -> None:
        await page.get_by_text("reconnecting").wait_for()
        count = len(sockets)
        await page.clock.run_for(most_ms - 1)
        assert len(sockets) == count
        async with page.expect_request("**/api/ws-ticket"):
            await page.clock.run_for(2)
        await expect(page.locator("#state")).to_have_text("on script" if steady else "reconnecting")

    await page.route_web_socket("**/api/ws*", greet)
    await page.clock.install(time=0)
    await page.clock.pause_at(1000)
    await page.add_init_script("Math.random = () => 1")
    await page.reload()
    for most_ms in (250, 500, 1000):
        await waits_for(most_ms)
    steady = True
    await waits_for(2000)
    await page.clock.run_for(10_001)
    steady = False
    await sockets[-1].close(code=1012)
    await waits_for(250)
    steady = True
    await waits_for(500)
    count = len(sockets)
    await page.clock.run_for(20_000)
    async with asyncio.timeout(WAIT_MS / 1000):
        while not any("ping" in data for data in heard):
            await asyncio.sleep(0.01)
    await page.clock.run_for(20_000)
    await waits_for(250)
    assert len(sockets) == count + 1


async def test_what_waits_has_a_clock_and_a_chat_heals_after_a_reconnect(tab: Tab, page_server: ServerProcess) -> None:
    page, me = tab.page, named("ana")
    ben = await sign_in(page_server, named("ben"), phone_number=f"+1416{uuid.uuid4().int % 10**7:07d}")
    await tab.enter(me)
    await tab.connected()
    await tab.begin(ben.name)
    await tab.write("before")
    await page.locator("#messages .sent").wait_for()
    await tab.cut()
    await tab.write("waits")
    await page.locator("#messages .pending").wait_for()
    await _send_many(ben, page_server, me, 130)
    await tab.mend()
    await page.locator("#messages").get_by_text("missed 129", exact=False).wait_for()
    await expect(page.locator("#messages .pending")).to_have_count(0)
    await page.locator("#messages").get_by_text("waits").wait_for()
    texts = [text.split(" ")[1][:3] for text in await page.locator("#messages li:not(.own)").all_inner_texts()]
    numbers = [int("".join(c for c in text if c.isdigit())) for text in texts]
    assert numbers == list(range(numbers[0], 130))
    assert await page.locator("#messages").get_by_text("waits").count() == 1
    async with ben.http(page_server) as http:
        rows = (await http.get("/api/messages", params={"limit": 1000})).json()
    assert [row["text"] for row in rows if row["from"] == me] == ["before", "waits"]


async def _send_many(device: Device, server: ServerProcess, to: str, count: int) -> None:
    async with device.http(server) as http:
        for number in range(count):
            answer = await http.post("/api/messages", json={"to": to, "text": f"missed {number:03d}."})
            assert answer.status_code == 200
            await asyncio.sleep(0)
