"""Every way in which a WebSocket can be refused tells the client when to come back, and not all at one moment.

One case of each: by a real chatserver, and by a real HAProxy with the operator's configuration.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from chatoperator.parts.ingress.answers import RETRY_AFTER_SECONDS, RETRY_SPREAD_SECONDS
from chatoperator.parts.ingress.clients import LEAST_SPARE, ClientLimits
from chatserver.http.problems import retry_after
from chatserver.http.room import DRAINING_RETRY_SECONDS, FULL_RETRY_SECONDS
from tests.support.cluster import until
from tests.support.devices import sign_in
from tests.support.front import PATIENCE_SECONDS, ROUTE, Front, in_front, open_websocket
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.devices import Device

pytestmark = pytest.mark.integration

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "chat.v1",
}
TRIES = 12
"""Each of six values or more would be the same in all of them once in 10^8 runs."""

OF_HAPROXY = range(RETRY_AFTER_SECONDS, RETRY_AFTER_SECONDS + RETRY_SPREAD_SECONDS + 1)


async def refusals(device: Device, server: ServerProcess, count: int = 1) -> list[httpx.Response]:
    async with device.http(server) as http:
        return [await http.get("/api/ws", headers=UPGRADE) for _ in range(count)]


def waits(answers: list[httpx.Response], status: int) -> set[int]:
    """Seconds that the answers name; all must be problems of this status."""
    assert {answer.status_code for answer in answers} == {status}
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/problem+json"}
    return {int(answer.headers["Retry-After"]) for answer in answers}


def test_a_503_names_up_to_twice_its_time_and_a_429_its_own() -> None:
    assert [retry_after(503, 2, draw) for draw in (0, 0.4, 0.999)] == [2, 3, 4]
    assert [retry_after(503, 1, draw) for draw in (0, 0.999)] == [1, 2]
    assert [retry_after(429, 30, draw) for draw in (0, 0.999)] == [30, 30]


async def test_a_full_server_says_when_also_to_a_page_which_sees_no_answer_of_an_upgrade(
    read_dsn: Callable[[], str],
) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_MAX_CONNECTIONS=1) as one:
        ana, bob = await sign_in(one), await sign_in(one)
        async with ana.socket(one), bob.http(one) as http:
            named = waits(await refusals(bob, one, TRIES), 503)
            assert named <= set(range(FULL_RETRY_SECONDS, 2 * FULL_RETRY_SECONDS + 1))
            assert len(named) > 1
            assert waits([await http.post("/api/ws-ticket")], 503)
        async with bob.socket(one):
            pass


async def test_a_server_that_drains_sends_clients_to_another_one_soon(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_DRAIN_SECONDS=30, CHAT_READINESS_NOTICE_SECONDS=0.1) as one:
        ana, bob = await sign_in(one), await sign_in(one)
        async with ana.socket(one) as socket, bob.http(one) as http:
            one.terminate()
            await socket.of_type("reconnect")
            soon = {DRAINING_RETRY_SECONDS, 2 * DRAINING_RETRY_SECONDS}
            assert waits(await refusals(bob, one), 503) <= soon
            assert waits([await http.post("/api/ws-ticket")], 503) <= soon


async def test_a_server_without_its_database_and_one_that_limits_an_address_say_when() -> None:
    with PostgresCluster() as postgres:
        dsn = postgres.dsn(postgres.create_database())
        migrate(dsn)
        with ServerProcess(dsn, "one", CHAT_REQUESTS_PER_ADDRESS_PER_MINUTE=40) as one:
            one.wait_ready()
            ana = await sign_in(one)
            postgres.stop("immediate")
            assert waits(await refusals(ana, one), 503) <= {2, 3, 4}
            answers = await refusals(ana, one, 50)
            limited = [answer for answer in answers if answer.status_code == httpx.codes.TOO_MANY_REQUESTS]
            assert min(waits(limited, 429)) > 0


async def by_haproxy(front: Front, count: int = 1) -> list[httpx.Response]:
    return [await front.client.get(f"{front.https}/api/ws", headers=UPGRADE) for _ in range(count)]


async def is_closed_after_refusal(front: Front) -> bool:
    """Whether HAProxy closes a connection over which it has refused a WebSocket, and which the client keeps open."""
    reader, writer = await asyncio.open_connection("localhost", front.https_port, ssl=front.trusting())
    lines = ["GET /api/ws HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in UPGRADE.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 503 ")


async def test_haproxy_says_when_while_there_is_no_server(tmp_path: Path) -> None:
    async with in_front(tmp_path) as front:
        front.ready = False
        await front.status_is(503)
        named = waits(await by_haproxy(front, TRIES), 503)
    assert named <= set(OF_HAPROXY)
    assert len(named) > 1


async def test_haproxy_says_when_to_whom_no_server_took_in_time(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(ROUTE, server_connections=1), queue="100ms") as front:
        _, writer = await open_websocket(front)
        assert waits(await by_haproxy(front), 503) <= set(OF_HAPROXY)
        writer.close()


async def test_haproxy_says_when_while_it_is_full_itself(tmp_path: Path) -> None:
    """Up to the last ones: without those, clients would wait for an answer until they give up."""
    most = 20
    async with in_front(tmp_path, replace(ROUTE, max_connections=most)) as front:
        await front.client.aclose()
        front.client = httpx.AsyncClient(verify=front.trusting(), timeout=10)
        sockets = [await open_websocket(front) for _ in range(most - LEAST_SPARE)]
        refused = await by_haproxy(front)
        assert waits(refused, 503) <= set(OF_HAPROXY)
        assert refused[0].headers["Connection"] == "close", "none of the last connections stays with who was refused"
        assert await is_closed_after_refusal(front)
        rest = await front.client.get(f"{front.https}/x")
        assert rest.status_code == httpx.codes.OK, "what is answered soon still passes"
        await front.client.aclose()
        front.client = httpx.AsyncClient(verify=front.trusting(), timeout=10)
        sockets.pop()[1].close()

        async def room() -> bool:
            return (await by_haproxy(front))[0].status_code == httpx.codes.OK

        await until(room, "one has left, and another one comes", PATIENCE_SECONDS)
        for _, writer in sockets:
            writer.close()


async def test_haproxy_says_when_to_an_address_with_too_many(tmp_path: Path) -> None:
    async with in_front(tmp_path, replace(ROUTE, limits=ClientLimits(connections=1))) as front:
        _, writer = await open_websocket(front)
        assert waits(await by_haproxy(front), 429) <= set(OF_HAPROXY)
        writer.close()
