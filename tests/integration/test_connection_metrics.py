"""Each request for a WebSocket is counted once, by its result; each end of one too, by its reason."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.integration.test_edge_faults import eventually
from tests.support.devices import Socket, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


def opened(server: ServerProcess, result: str) -> float:
    return server.metric(f'chatserver_connections_opened_total{{result="{result}"}}')


def closed(server: ServerProcess, code: int, reason: str) -> float:
    return server.metric(f'chatserver_connections_closed_total{{code="{code}",reason="{reason}"}}')


async def refused(server: ServerProcess, headers: dict[str, str]) -> int | None:
    """Return the status or close code of a request for a WebSocket."""
    try:
        async with connect(f"{server.ws_url}/api/ws", additional_headers=headers, proxy=None) as connection:
            return await Socket(connection).close_code()
    except InvalidStatus as error:
        return error.response.status_code


async def test_requests_for_a_socket_are_counted_by_result(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_MAX_CONNECTIONS=1) as one:
        one.wait_ready()
        ana = await sign_in(one, "ana")
        assert await refused(one, {"Authorization": "Bearer wrong"}) == 4001
        assert await refused(one, {**ana.headers, "Origin": "https://elsewhere.example"}) == 4003
        async with httpx.AsyncClient(base_url=one.url, headers=ana.headers, verify=NO_TLS, trust_env=False) as http:
            assert (await http.get("/api/ws")).status_code == 426
        async with ana.socket(one):
            assert await refused(one, ana.headers) == 503
            one.terminate()
            await eventually(lambda: "drain_asks" in one.log_text())
            assert await refused(one, ana.headers) == 503
            counted = {result: opened(one, result) for result in RESULTS}
        assert counted == dict.fromkeys(RESULTS, 1)


RESULTS = ("accepted", "unauthenticated", "forbidden", "invalid", "full", "draining")


async def test_requests_above_the_rate_of_an_address_are_counted(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_REQUESTS_PER_ADDRESS_PER_MINUTE=1) as one:
        statuses = [await refused(one, {"Authorization": "Bearer wrong"}) for _ in range(100)]
        assert opened(one, "limited") == statuses.count(429) > 0
        assert opened(one, "unauthenticated") == statuses.count(4001)


async def test_a_goodbye_and_a_lost_network_are_told_apart(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as one:
        one.wait_ready()
        ana = await sign_in(one, "ana")
        async with ana.socket(one):
            pass
        await eventually(lambda: closed(one, 0, "client") == 1)
        async with connect(f"{one.ws_url}/api/ws", additional_headers=ana.headers, proxy=None) as connection:
            await Socket(connection).of_type("welcome")
            connection.transport.abort()
        await eventually(lambda: closed(one, 0, "network") == 1)
        assert closed(one, 0, "client") == 1
        assert opened(one, "accepted") == 2


async def test_a_replaced_and_a_signed_out_device_are_told_apart(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as one:
        one.wait_ready()
        ana = await sign_in(one, "ana")
        async with ana.socket(one) as older, ana.socket(one) as newer:
            assert await older.close_code() == 4009
            await eventually(lambda: closed(one, 4009, "replaced") == 1)
            async with ana.http(one) as http:
                assert (await http.delete(f"/api/devices/{ana.device_id}")).is_success
            assert await newer.close_code() == 4001
            await eventually(lambda: closed(one, 4001, "signed_out") == 1)


async def test_clients_that_were_moved_and_those_that_a_restart_cut_are_told_apart(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as one:
        one.wait_ready()
        ana, bob = await sign_in(one, "ana"), await sign_in(one, "bob")
        async with bob.socket(one) as staying:
            async with ana.socket(one) as leaving:
                began_at = time.time()
                one.terminate()
                await leaving.of_type("reconnect")
                drain_seconds = 8
                deadline = one.metric("chatserver_drain_deadline_timestamp_seconds")
                assert began_at <= deadline - drain_seconds <= time.time()
            await eventually(lambda: closed(one, 0, "moved") == 1)
            assert await staying.close_code() == 1012
        assert one.wait(30) == 0
        reasons = [event["reason"] for event in one.events() if event["event"] == "disconnected"]
        assert reasons == ["moved", "restart"]


async def test_a_frame_that_breaks_the_protocol_is_no_slow_reader(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as one:
        one.wait_ready()
        ana = await sign_in(one, "ana")
        async with ana.socket(one) as a:
            for _ in range(600):
                await a.connection.send("no JSON")
            assert await a.close_code() == 4008
            await eventually(lambda: closed(one, 4008, "protocol") == 1)
            assert closed(one, 4008, "slow_reader") == 0
