"""A server's bad days: drain, database away, bus cut, slow readers. Nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import signal
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from chatserver.fanout.outbox import MAX_OUTBOX_BYTES
from tests.support.devices import Device, Socket, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate
from tests.support.valkey import BUSES, bus_environment, running_bus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.valkey import ValkeyProcess

pytestmark = pytest.mark.integration

FLOODS = 16
"""Enough to fill an outbox and what the kernel holds for a socket (a few megabytes)."""


async def get(server: ServerProcess, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, timeout=20, verify=NO_TLS, trust_env=False) as http:
        return await http.get(path)


async def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.1)


async def texts_in_history(device: Device, server: ServerProcess, chat_id: int) -> list[str]:
    async with device.http(server) as http:
        rows = (await http.get(f"/api/chats/{chat_id}/messages", params={"after": 0, "limit": 1000})).json()
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["text"] for row in rows]


@pytest.fixture(params=BUSES)
def valkeys(request: pytest.FixtureRequest) -> Iterator[list[ValkeyProcess]]:
    """The bus of the servers; empty: PostgreSQL."""
    with running_bus(request.param) as running:
        yield running


@pytest.fixture
def one(read_dsn: Callable[[], str], valkeys: list[ValkeyProcess]) -> Iterator[ServerProcess]:
    with ServerProcess(read_dsn(), "one", **bus_environment(valkeys)) as server:
        server.wait_ready()
        yield server


@pytest.fixture
def two(read_dsn: Callable[[], str], valkeys: list[ValkeyProcess]) -> Iterator[ServerProcess]:
    with ServerProcess(read_dsn(), "two", **bus_environment(valkeys)) as server:
        server.wait_ready()
        yield server


async def test_drain_asks_to_reconnect_then_closes_with_1012_and_loses_nothing(
    one: ServerProcess, two: ServerProcess
) -> None:
    ana, bob = await sign_in(one, "ana"), await sign_in(one, "bob")
    async with ana.socket(one) as a, bob.socket(one) as b, bob.http(one) as polling_http:
        chat_id = (await a.message("first", to="bob"))["chat_id"]
        await b.text("first")
        since = (await polling_http.get("/api/messages")).headers["X-Next-Since"]
        polling = asyncio.create_task(polling_http.get("/api/messages", params={"since": since, "wait": 60}))
        await asyncio.sleep(0.3)
        assert not polling.done()
        one.terminate()
        answer = await asyncio.wait_for(polling, 20)
        assert (answer.status_code, answer.json()) == (200, [])
        assert (await get(one, "/readyz?exclude=database")).status_code == 503
        # Still served until the end: what is acknowledged must be found afterwards.
        acknowledged = ["first"]
        try:
            for number in range(10_000):
                ack = await a.message(str(number), chat_id=chat_id)
                if ack["type"] == "ack":
                    acknowledged.append(str(number))
                await asyncio.sleep(0.02)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            assert closed.rcvd.code == 1012
        reconnect = next(frame for frame in a.frames if frame["type"] == "reconnect")
        assert 0 <= reconnect["after_ms"] <= 8000
        assert await b.close_code() == 1012
        assert any(frame["type"] == "reconnect" for frame in b.frames)
    assert await asyncio.to_thread(one.wait, 20) == 0
    assert len(acknowledged) > 10
    stored = await texts_in_history(bob, two, chat_id)
    assert [text for text in stored if text in set(acknowledged)] == acknowledged


async def test_a_second_sigterm_hurries_the_drain(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_DRAIN_SECONDS=120, CHAT_READINESS_NOTICE_SECONDS=60) as server:
        server.wait_ready()
        ana = await sign_in(server)
        async with ana.socket(server) as a:
            server.terminate()
            await eventually(lambda: "drain_begins" in server.log_text())
            server.terminate()
            assert await a.close_code() == 1012
        assert await asyncio.to_thread(server.wait, 30) == 0


async def test_a_poll_is_answered_when_the_proxies_have_noticed_and_not_before(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_READINESS_NOTICE_SECONDS=4) as server:
        server.wait_ready()
        ana = await sign_in(server)
        # A socket that ignores what it is asked, so that the server is still there.
        async with ana.socket(server) as a, ana.http(server) as http:
            polling = asyncio.create_task(http.get("/api/messages", params={"wait": 60}))
            server.terminate()
            await eventually(lambda: "drain_begins" in server.log_text())
            assert (await get(server, "/readyz?exclude=database")).status_code == 503
            assert (
                await get(server, "/readyz?exclude=draining")
            ).status_code == 200 or "drain_asks" in server.log_text()
            again = asyncio.create_task(http.get("/api/messages", params={"wait": 60}))
            for poll in (polling, again):
                answer = await asyncio.wait_for(poll, 20)
                assert (answer.status_code, answer.json()) == (200, [])
                assert "drain_asks" in server.log_text(), "it would have come straight back"
            assert (await get(server, "/readyz?exclude=draining")).status_code == 503
            assert "drain_closes" not in server.log_text()
            await a.of_type("reconnect")
            assert (await http.get("/api/messages", params={"wait": 60})).json() == []


async def test_a_sigterm_during_the_start_ends_it(read_dsn: Callable[[], str]) -> None:
    server = ServerProcess(read_dsn(), "one")
    server.spawn()
    try:
        await eventually(lambda: server.log_text() != "")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 30) == 0
    finally:
        server.__exit__()


async def test_a_client_that_leaves_when_asked_ends_the_drain_early(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one", CHAT_DRAIN_SECONDS=300) as server:
        server.wait_ready()
        ana = await sign_in(server)
        async with ana.socket(server) as a:
            server.terminate()
            await a.of_type("reconnect")
        assert await asyncio.to_thread(server.wait, 60) == 0


async def test_without_a_database_sockets_stay_writes_answer_503_and_all_recovers_by_itself(
    valkeys: list[ValkeyProcess],
) -> None:
    with PostgresCluster() as postgres:
        dsn, bus = postgres.dsn(postgres.create_database()), bus_environment(valkeys)
        migrate(dsn)
        with ServerProcess(dsn, "one", **bus) as one, ServerProcess(dsn, "two", **bus) as two:
            one.wait_ready()
            two.wait_ready()
            ana, bob = await sign_in(one, "ana"), await sign_in(two, "bob")
            async with ana.socket(one) as a, bob.socket(two) as b, ana.http(one) as http:
                chat_id = (await a.message("before", to="bob"))["chat_id"]
                await b.text("before")
                postgres.stop("immediate")
                refused = await http.post("/api/messages", json={"chat_id": chat_id, "text": "lost"})
                assert refused.status_code == 503, refused.text
                assert int(refused.headers["Retry-After"]) > 0
                assert refused.headers["Content-Type"] == "application/problem+json"
                frame_id = str(uuid.uuid4())
                await a.send(type="send", id=frame_id, chat_id=chat_id, text="retried")
                error = await a.of_type("error", id=frame_id)
                assert (error["code"], error["retry_after_seconds"] > 0) == ("unavailable", True)
                # Probes share one look at the database a second.
                await eventually(
                    lambda: httpx.get(f"{one.url}/readyz", verify=NO_TLS, trust_env=False).status_code == 503
                )
                assert (await get(one, "/readyz?exclude=database")).status_code == 200
                await a.send(type="ping")
                await a.of_type("pong")
                postgres.start()
                await asyncio.to_thread(one.wait_ready)
                await asyncio.to_thread(two.wait_ready)
                for _ in range(50):
                    await a.send(type="send", id=frame_id, chat_id=chat_id, text="retried")
                    answer = await a.until(lambda f: f.get("id") == frame_id and f is not error)
                    if answer["type"] == "ack":
                        break
                    a.frames.clear()
                    await asyncio.sleep(0.2)
                await b.text("retried")
                assert [seq for _, seq in b.rows()] == sorted({seq for _, seq in b.rows()})


async def test_a_server_starts_without_its_database_and_gets_ready_when_it_comes() -> None:
    with PostgresCluster() as postgres:
        dsn = postgres.dsn(postgres.create_database())
        migrate(dsn)
        postgres.stop()
        with ServerProcess(dsn, "one") as one:
            assert (await get(one, "/livez")).status_code == 200
            assert (await get(one, "/readyz")).status_code == 503
            assert (await get(one, "/readyz?exclude=database")).status_code == 200
            postgres.start()
            await asyncio.to_thread(one.wait_ready)
            ana = await sign_in(one)
            async with ana.socket(one) as a:
                assert (await a.message("x", to=ana.phone_number))["type"] == "ack"


async def test_a_server_without_the_schema_is_not_ready_until_it_is_migrated(postgres: PostgresCluster) -> None:
    dsn = postgres.dsn(postgres.create_database())
    with ServerProcess(dsn, "one") as one:
        await eventually(lambda: "schema_not_ready" in one.log_text())
        assert (await get(one, "/readyz")).status_code == 503
        migrate(dsn)
        await asyncio.to_thread(one.wait_ready)


async def test_messages_arrive_though_the_bus_is_cut_again_and_again(
    one: ServerProcess, two: ServerProcess, postgres: PostgresCluster, valkeys: list[ValkeyProcess]
) -> None:
    ana, bob = await sign_in(one, "ana"), await sign_in(two, "bob")
    async with ana.socket(one) as a, bob.socket(two) as b:
        chat_id = (await a.message("0", to="bob"))["chat_id"]
        for number in range(1, 6):
            killed = postgres.sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE '%listen'"
            )
            assert int(killed) > 0
            for valkey in valkeys:
                valkey.call("CLIENT", "KILL", "TYPE", "pubsub")
            await a.message(str(number), chat_id=chat_id)
            await b.text(str(number))
            await asyncio.sleep(0.7)
    assert [seq for _, seq in b.rows()] == [1, 2, 3, 4, 5, 6]


async def test_a_reader_that_does_not_read_is_closed_with_4008_while_others_go_on(
    one: ServerProcess, two: ServerProcess
) -> None:
    ana, bob = await sign_in(one, "ana"), await sign_in(two, "bob")
    eve = await sign_in(two, "eve")
    async with ana.http(one) as http:
        group = (await http.post("/api/groups", json={"group_name": "g", "members": ["bob", "eve"]})).json()
    async with (
        ana.socket(one) as a,
        bob.socket(two) as quick,
        # One frame is buffered, then the socket is left unread.
        eve.socket(two, max_queue=1) as slow,
    ):
        for number in range(FLOODS):
            await flood(a, group["chat_id"])
            await a.message(f"end {number}", chat_id=group["chat_id"])
            # On a busy machine this test may read more slowly than it writes, too.
            await quick.text(f"end {number}")
        seqs = [seq for chat_id, seq in quick.rows() if chat_id == group["chat_id"]]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        # The server has given up on her though she has read nothing since.
        await eventually(lambda: two.metric("chatserver_connections") == 1)
        assert await slow.close_code(60) in {4008, None}
        assert two.metric('chatserver_connections_closed_total{code="4008",reason="slow_reader"}') == 1


async def flood(socket: Socket, chat_id: int) -> None:
    """Send as much as a reader may be behind at most, about."""
    text = "x" * 60_000
    for _ in range(MAX_OUTBOX_BYTES * 3 // 4 // len(text)):
        assert (await socket.message(text, chat_id=chat_id))["type"] == "ack"
