"""The page in a real Chromium: signing in on it, writing, and the sockets that it opens."""

from __future__ import annotations

import json
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.async_api import Browser, BrowserContext, Page, WebSocketRoute, async_playwright, expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.server import ServerProcess

WEB = Path(__file__).parents[2] / "web"
WAIT_MS = 20_000
expect.set_options(timeout=WAIT_MS)

CLOSE_TOO_LARGE = 1009


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start this machine's Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        await browser.close()


class Tab:
    """One tab with the page, whose sockets a test can end.

    Attributes:
        page: Playwright's page.
        sockets: That it opened, oldest first.
        frames: That it sent, over all sockets.
        limits: What `welcome` names from now on; None for the server's own.
        most_bytes: Of a frame, above which the connection ends with 1009; None for the server's own limit.
    """

    def __init__(self, page: Page, server: ServerProcess) -> None:
        self.page = page
        self.server = server
        self.sockets: list[WebSocketRoute] = []
        self.frames: list[dict[str, Any]] = []
        self.limits: dict[str, int] | None = None
        self.most_bytes: int | None = None

    async def pass_on(self, socket: WebSocketRoute) -> None:
        """Connect a socket of the page to the server."""
        self.sockets.append(socket)
        server = socket.connect_to_server()

        async def to_server(data: str | bytes) -> None:
            self.frames.append(json.loads(data))
            if self.most_bytes is not None and len(data) > self.most_bytes:
                await socket.close(code=CLOSE_TOO_LARGE)
            else:
                server.send(data)

        def to_page(data: str | bytes) -> None:
            frame = json.loads(data)
            if frame["type"] == "welcome" and self.limits is not None:
                frame["limits"] = self.limits
            socket.send(json.dumps(frame))

        socket.on_message(to_server)
        server.on_message(to_page)

    def sent(self) -> list[str]:
        """Return the texts of the messages that the page has sent, repeated ones as often as they were."""
        return [frame["text"] for frame in self.frames if frame["type"] == "send"]

    async def enter(self, name: str, number: str | None = None) -> None:
        """Sign a new user in, by a new phone number unless one is given."""
        await self.page.goto(f"{self.server.url}/")
        await self.page.get_by_label("Phone number").fill(number or f"+1415{uuid.uuid4().int % 10**7:07d}")
        await self.page.get_by_role("button", name="Send me a code").click()
        await self.page.get_by_label("Username").fill(name)
        await self.page.get_by_role("button", name="Sign in").click()

    async def connected(self) -> None:
        """Wait until the page shows that it is connected."""
        await self.page.get_by_text(f"on {self.server.name}", exact=True).wait_for()

    async def begin(self, to: str) -> None:
        """Start a chat by a name."""
        await self.page.get_by_label("Start a chat with").fill(to)
        await self.page.get_by_role("button", name="Chat", exact=True).click()

    async def pick(self, title: str) -> None:
        """Show a chat of the list."""
        await self.page.locator("#chats").get_by_role("button", name=title).click()

    async def write(self, text: str) -> None:
        """Write a message into what is shown, and send it."""
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.get_by_role("button", name="Send", exact=True).click()

    async def cut(self) -> None:
        """End the connection, with no ticket for another."""
        await self.page.route("**/api/ws-ticket", lambda route: route.abort())
        await self.sockets[-1].close(code=1012)
        await self.page.get_by_text("reconnecting").wait_for()

    async def mend(self) -> None:
        """Give tickets again."""
        await self.page.unroute("**/api/ws-ticket")


@asynccontextmanager
async def user_agent(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser's storage of its own, in whose pages no script may fail."""
    context = await browser.new_context()
    context.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    await context.close()
    assert complaints == []


async def open_tab(context: BrowserContext, server: ServerProcess) -> Tab:
    """Open a tab whose sockets go to the server."""
    tab = Tab(await context.new_page(), server)
    await tab.page.route_web_socket("**/api/ws*", tab.pass_on)
    return tab
