"""HAProxy with the operator's configuration in front of a real chatserver: what one client does there to another."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.front import ROUTE, in_front
from tests.support.server import ServerProcess
from tests.support.trickle import Slow, all_end, send_slowly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.front import Front

pytestmark = pytest.mark.integration

HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
ATTACKS = {
    "a trailer": b"POST /nosuch" + HOST + CHUNKED + b"1\r\nx\r\n0\r\nA: b\r\n\r\n",
    "a trailer of a good request": b"POST /api/auth/code" + HOST + CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\n\r\n",
    "a length that overflows": b"POST /nosuch" + HOST + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "too much": b"POST /nosuch" + HOST + b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000,
    "too many chunks": b"POST /nosuch" + HOST + CHUNKED + b"4000\r\n" + b"x" * 0x4000 + b"\r\n0\r\nA: b\r\n\r\n",
    "another coding": b"POST /nosuch" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
}
VICTIMS, VICTIMS_REQUESTS = 4, 40


@pytest.fixture
async def front(postgres: Any, migrated_template: str, tmp_path: Path) -> AsyncIterator[Front]:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_REQUEST_SECONDS=1) as server:
        server.wait_ready()
        async with in_front(tmp_path, ROUTE, behind=int(server.url.rsplit(":", 1)[1]), client="5s") as made:
            yield made


async def test_no_request_of_a_client_costs_another_one_its_own(front: Front) -> None:
    over = asyncio.Event()

    async def attack(raw: bytes) -> int:
        count = 0
        while not over.is_set():
            with contextlib.suppress(OSError):
                await send_slowly(Slow("attack", raw), front.https_port, patience_seconds=0.2)
                count += 1
        return count

    async def victim() -> list[int]:
        async with httpx.AsyncClient(verify=front.trusting(), base_url=front.https, timeout=30) as http:
            return [
                (await http.request(("GET", "POST")[number % 2], "/api/messages", content=b"{}")).status_code
                for number in range(VICTIMS_REQUESTS)
            ]

    attacks = [asyncio.create_task(attack(raw)) for raw in ATTACKS.values()]
    answers = await asyncio.gather(*(victim() for _ in range(VICTIMS)))
    over.set()
    assert all(await asyncio.gather(*attacks)), "each attack came through"
    assert {status for statuses in answers for status in statuses} == {401}


async def test_a_body_too_large_to_be_waited_for_has_an_end_too(front: Front) -> None:
    large = b"x" * 100_000
    await all_end(
        [
            Slow("of a good request", b"POST /api/auth/code" + HOST + b"Content-Length: 200000\r\n\r\n" + large, b"x"),
            Slow("after 404", b"POST /nosuch" + HOST + b"Content-Length: 200000\r\n\r\n" + large, b"x"),
            Slow("after 401", b"POST /api/messages" + HOST + b"Content-Length: 200000\r\n\r\n" + large, b"x"),
            Slow("after 413", b"POST /api/auth/code" + HOST + b"Content-Length: 900000\r\n\r\n" + large * 4, b"x"),
            Slow("in chunks", b"POST /nosuch" + HOST + CHUNKED + b"186a0\r\n" + large + b"\r\n", b"1\r\nx\r\n"),
        ],
        front.https_port,
    )
    async with httpx.AsyncClient(verify=front.trusting(), base_url=front.https) as http:
        refused = await http.post("/api/auth/code", content=large * 9)
    assert refused.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    assert refused.json()["code"] == "too_large"
