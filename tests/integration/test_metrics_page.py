"""The page of a server that is used: Prometheus' own check finds nothing, and users and chats add no series."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.devices import sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.devices import Device, Frame, Socket

pytestmark = pytest.mark.integration

USERS, CHATS = 10_000, 1_000
FORMATS = {"text": "text/plain", "OpenMetrics": "application/openmetrics-text; version=1.0.0"}


async def page(server: ServerProcess, accept: str = "text/plain", **names: list[str]) -> str:
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=60) as http:
        answer = await http.get(server.metrics_url, headers={"Accept": accept}, params=names)
    assert answer.is_success
    return answer.text


def series(text: str) -> set[str]:
    """Return the names and labels of a page."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


async def answer_to(socket: Socket, frame_id: str) -> Frame:
    return await socket.until(lambda frame: frame.get("id") == frame_id)


async def use(server: ServerProcess, device: Device, chat_id: int | None = None) -> int:
    """Do what users do, over the socket and by requests; returns the chat."""
    async with device.socket(server) as socket, device.http(server) as http:
        found = (await socket.message("hello", **({"to": device.name} if chat_id is None else {"chat_id": chat_id})))[
            "chat_id"
        ]
        await socket.send(type="read", chat_id=found, seq=1)
        await socket.send(type="sync", chats={str(found): 0})
        await socket.of_type("synced")
        for path in ("/api/chats", f"/api/chats/{found}/messages", "/api/messages", "/nowhere", "/api/users/nobody"):
            await http.get(path)
        await http.post("/api/messages", json={"chat_id": found, "text": "by request"})
        await http.request("BREW", "/api/chats")
        await http.patch("/api/chats")
    return int(found)


async def test_promtool_finds_nothing_in_either_format(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as one:
        one.wait_ready()
        await use(one, await sign_in(one, "ana"))
        plain = await page(one)
        found = await asyncio.to_thread(
            subprocess.run, ["promtool", "check", "metrics"], input=plain, capture_output=True, text=True, check=False
        )
        assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
        rich = await page(one, FORMATS["OpenMetrics"])
        assert rich.endswith("# EOF\n")
        # promtool reads the text format alone; the other one is read as strictly by prometheus_client.
        families = text_string_to_metric_families(rich)  # type: ignore[no-untyped-call]
        samples = {sample.name for family in families for sample in family.samples}
        assert samples == {name.partition("{")[0] for name in series(plain)}
        assert "_created" not in plain + rich


async def test_ten_thousand_users_and_a_thousand_chats_add_no_series(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as one:
        one.wait_ready()
        ana = await sign_in(one, "ana")
        await use(one, ana)
        few = series(await page(one))
        database = await asyncpg.connect(one.dsn)
        try:
            await database.execute(
                "INSERT INTO users (username, username_key, phone_number)"
                " SELECT 'u' || n, 'u' || n, '+1212' || (1000000 + n) FROM generate_series(1, $1::int) AS n",
                USERS,
            )
        finally:
            await database.close()
        async with ana.http(one) as http, ana.socket(one) as socket:
            for number in range(1, CHATS + 1):
                await socket.send(type="send", id=f"00000000-0000-4000-8000-{number:012d}", text="x", to=f"u{number}")
                if number % 10 == 0:
                    last = f"00000000-0000-4000-8000-{number:012d}"
                    frame = await answer_to(socket, last)
                    assert frame["type"] == "ack"
                    await http.get(f"/api/users/u{number}")
                    await http.get(f"/api/chats/{frame['chat_id']}/messages")
            count = one.metric('chatserver_messages_total{result="stored"}')
        assert count >= CHATS
        many = series(await page(one))
        assert many - few == set()
        assert len(many) < 900
