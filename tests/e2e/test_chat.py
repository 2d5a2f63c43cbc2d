"""What a client of the ingress sees: REST, WebSockets, errors, the page."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import async_playwright

from chatcluster_client import Item, LiveClient, Problem, ReceiptUpdate
from tests.support.cluster import Cluster
from tests.support.ledger import sign_in

WITHIN_SECONDS = 10

CONNECTIONS_MAX = 8
"""Two proxies count connections each for itself: a few may meet on one server."""


async def test_two_users_on_different_servers_chat_over_websockets(cluster: Cluster) -> None:
    async with _on_different_servers(cluster) as (ana, ben):
        ack = await ana.send("hello", to=ben.rest.username)
        item = await _next_item(ben)
        assert (item.text, item.seq, item.chat_id) == ("hello", ack.seq, ack.chat_id)
        await ben.mark(ack.chat_id, delivered_seq=ack.seq)
        await _next_receipt(ana, lambda receipt: receipt.delivered_seq == ack.seq)
        await ben.mark(ack.chat_id, read_seq=ack.seq)
        await _next_receipt(ana, lambda receipt: receipt.read_seq == ack.seq)


async def test_two_users_chat_by_polling_alone(cluster: Cluster) -> None:
    async with (
        await sign_in(cluster.url, tls=cluster.insecure) as ana,
        await sign_in(cluster.url, tls=cluster.insecure) as ben,
    ):
        _, since = await ben.poll(None)
        sent = await ana.send("hello by poll", client_id=str(uuid.uuid4()), to=ben.username)
        assert sent["status"] == "sent"
        rows, _ = await ben.poll(since, wait_seconds=WITHIN_SECONDS)
        assert [row["text"] for row in rows] == ["hello by poll"]
        assert rows[0]["from_id"] == ana.user_id
        for receipt, status in (("delivered_seq", "delivered"), ("read_seq", "read")):
            await ben.call("POST", "/api/receipts", {"chats": {str(sent["chat_id"]): {receipt: sent["seq"]}}})
            own, _ = await ana.poll(None)
            assert [row["status"] for row in own] == [status]
        again, _ = await ben.poll(str(rows[0]["timestamp"]))
        assert [row["message_id"] for row in again] == [sent["message_id"]]


async def test_errors_are_problems_that_say_what_to_do(cluster: Cluster) -> None:
    async with await sign_in(cluster.url, tls=cluster.insecure) as ana:
        message = {"to": "+15555550100", "text": "x"}
        await _refused(cluster, "", message, 401, "unauthenticated")
        await _refused(cluster, ana.token, message, 404, "user_not_found")
        problem = await _refused(cluster, ana.token, {**message, "tex": "y"}, 422, "validation_failed")
        assert any("tex" in error["path"] for error in problem["errors"])
        await _refused(cluster, ana.token, {**message, "text": "x" * 2_000_000}, 413, "too_large")


async def test_metrics_are_not_to_be_had_through_the_ingress(cluster: Cluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.url, verify=cluster.insecure) as http:
        assert (await http.get("/metrics")).status_code == httpx.codes.NOT_FOUND
        answer = await http.get("/livez")
        assert answer.status_code == httpx.codes.OK
        assert answer.headers["X-Chat-Server"]
        assert answer.headers["X-Request-Id"]


async def test_the_same_client_id_is_stored_once(cluster: Cluster) -> None:
    async with await sign_in(cluster.url, tls=cluster.insecure) as ana:
        client_id = str(uuid.uuid4())
        me = ana.username
        first = await ana.send("once", client_id=client_id, to=me)
        second = await ana.send("once", client_id=client_id, to=me)
        assert (first["duplicate"], second["duplicate"]) == (False, True)
        assert first["message_id"] == second["message_id"]
        with pytest.raises(Problem) as refused:
            await ana.send("twice", client_id=client_id, to=me)
        assert (refused.value.status, refused.value.code) == (409, "idempotency_conflict")


async def test_two_browsers_chat_on_the_page(cluster: Cluster, tmp_path: Path) -> None:
    """In a real Chromium: sign in, write, read, see both ticks."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        unique = uuid.uuid4()
        names = [f"ana{unique.hex[:8]}", f"ben{unique.hex[:8]}"]
        pages = []
        complaints: list[str] = []
        for place, name in enumerate(names):
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda entry: complaints.append(entry.text) if entry.type == "error" else None)
            await page.goto(f"{cluster.url}/")
            await page.get_by_label("Phone number").fill(f"+1415{unique.int % 10**6:06d}{place}")
            await page.get_by_role("button", name="Send me a code").click()
            await page.get_by_label("Username").fill(name)
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_text("on demo-chatserver").wait_for()
            pages.append(page)
        ana, ben = pages
        await ana.get_by_label("Start a chat with").fill(names[1])
        await ana.get_by_role("button", name="Chat", exact=True).click()
        await ana.get_by_label("Message", exact=True).fill("hello from a browser <b>&amp;")
        await ana.get_by_role("button", name="Send", exact=True).click()
        await ben.get_by_role("button", name=names[0]).click()
        await ben.locator("#messages").get_by_text("hello from a browser <b>&amp;").wait_for()
        await ana.locator("#messages .read").wait_for()
        for page, name in zip(pages, names, strict=True):
            await page.screenshot(path=tmp_path / f"{name[:3]}.png")
        await browser.close()
        assert complaints == []


@contextlib.asynccontextmanager
async def _on_different_servers(cluster: Cluster) -> AsyncIterator[tuple[LiveClient, LiveClient]]:
    """Two users with open connections that HAProxy gave to different servers."""
    async with contextlib.AsyncExitStack() as stack:
        by_server: dict[str, LiveClient] = {}
        for _ in range(CONNECTIONS_MAX):
            rest = await stack.enter_async_context(await sign_in(cluster.url, tls=cluster.insecure))
            live = await stack.enter_async_context(LiveClient(rest))
            await asyncio.wait_for(live.connected.wait(), WITHIN_SECONDS)
            by_server.setdefault(live.server, live)
            if len(by_server) > 1:
                first, second = by_server.values()
                yield first, second
                return
        pytest.fail(f"HAProxy gave {CONNECTIONS_MAX} open connections to {list(by_server)} alone")


async def _next_item(live: LiveClient) -> Item:
    async with asyncio.timeout(WITHIN_SECONDS):
        async for item in live.items():
            if isinstance(item, Item):
                return item
    raise AssertionError("the client ended")


async def _next_receipt(live: LiveClient, wanted: Callable[[ReceiptUpdate], bool]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        async for item in live.items():
            if isinstance(item, ReceiptUpdate) and wanted(item):
                return


async def _refused(cluster: Cluster, token: str, body: dict[str, str], status: int, code: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=cluster.url, verify=cluster.insecure, headers=headers) as http:
        answer = await http.post("/api/messages", json=body)
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, problem["code"]) == (status, code)
    return problem
