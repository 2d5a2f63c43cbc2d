"""``/docs`` in a real Chromium: it is styled, follows the colour scheme, and asks for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import async_playwright

from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


async def test_the_page_needs_nothing_but_itself(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path="/usr/bin/chromium",
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            page = await browser.new_page(viewport={"width": 390, "height": 800})
            asked: list[str] = []
            complaints: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(f"{server.url}/docs")
            assert await page.title() == "ChatCluster's API"
            # Its style is let through by the policy's hash; the narrow screen scrolls tables, not the page.
            assert await page.evaluate("getComputedStyle(document.querySelector('.table')).overflowX") == "auto"
            assert await page.evaluate("document.documentElement.scrollWidth") == 390
            await page.emulate_media(color_scheme="light")
            link = await page.evaluate("getComputedStyle(document.querySelector('nav a')).color")
            await page.emulate_media(color_scheme="dark")
            assert await page.evaluate("getComputedStyle(document.querySelector('nav a')).color") != link
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.activeElement.textContent") == "Skip to the calls"
            await page.keyboard.press("Enter")
            assert page.url.endswith("/docs#main")
            await page.locator("nav").get_by_role("link", name="POST /api/messages").click()
            assert page.url.endswith("/docs#sendMessage")
            assert await page.locator("#sendMessage h3").is_visible()
            await browser.close()
    assert set(asked) == {f"{server.url}/docs"}
    assert complaints == []
