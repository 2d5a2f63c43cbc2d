"""PostgreSQL away, frozen or restarted: bounded 503 meanwhile, and all well afterwards without help."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ServiceUnavailable
from chatserver.messaging import feed
from chatserver.storage import database as storage_database
from chatserver.storage.database import CALL_SECONDS, Database
from tests.support.databaseproxy import DatabaseProxy
from tests.support.people import Server, running_server, sign_in
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chatserver.dev.postgres import Shutdown
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

BOUND_SECONDS = 2 * CALL_SECONDS + 5
"""Seconds in which every call has answered: waiting for the pool and its own call, on a loaded machine."""

NOBODY_TIMES = 3
"""Connections that are refused before one succeeds."""


async def eventually(call: Callable[[], Awaitable[object]], seconds: float = 30) -> None:
    """Repeat a call until it succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await call()
        except ServiceUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_restart_gives_503_then_recovers_and_keeps_what_was_acknowledged(
    postgres: PostgresCluster, read_dsn: Callable[[], str], mode: Shutdown
) -> None:
    async with running_server(read_dsn) as server:
        ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
        chat_id = (await server.send(ada.user.user_id, "open", to="Bob")).chat_id
        acknowledged = [(chat_id, 1)]
        running = True

        async def keep_sending() -> None:
            while running:
                try:
                    sent = await server.send(ada.user.user_id, "x", chat_id=chat_id)
                    acknowledged.append((sent.chat_id, sent.seq))
                except ServiceUnavailable as error:
                    assert error.retry_after_seconds
                    await asyncio.sleep(0.05)

        sending = [asyncio.create_task(keep_sending()) for _ in range(3)]
        async with asyncio.timeout(BOUND_SECONDS):
            while len(acknowledged) < 10:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres.stop, mode)
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                with pytest.raises(ServiceUnavailable) as caught:
                    await feed.read_feed(server.database, bob.user.user_id)
                assert caught.value.retry_after_seconds
                with pytest.raises(ServiceUnavailable):
                    await server.database.ping()
                with pytest.raises(ServiceUnavailable):
                    await server.database.listen(lambda _: None)
        finally:
            await asyncio.to_thread(postgres.start)
        await eventually(server.database.ping)
        await eventually(lambda: server.send(ada.user.user_id, "after", chat_id=chat_id))
        running = False
        await asyncio.gather(*sending)
        table = await server.database.fetch("SELECT chat_id, seq FROM messages ORDER BY seq")
        keys = {(row[0], row[1]) for row in table}
        assert set(acknowledged) <= keys
        assert [row[1] for row in table] == list(range(1, len(table) + 1))


async def test_frozen_database_gives_503_in_bounded_time_and_recovers(
    postgres: PostgresCluster, server: Server
) -> None:
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    chat_id = (await server.send(ada.user.user_id, "open", to="Bob")).chat_id
    listener = await server.database.listen(lambda _: None)
    postgres.freeze()
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            results = await asyncio.gather(
                *(server.send(ada.user.user_id, str(number), chat_id=chat_id) for number in range(20)),
                *(feed.read_feed(server.database, ada.user.user_id) for _ in range(20)),
                server.database.ping(),
                listener.ping(),
                return_exceptions=True,
            )
        assert all(isinstance(result, ServiceUnavailable) for result in results), results
    finally:
        postgres.thaw()
    await asyncio.wait_for(listener.wait_closed(), 1)
    await eventually(lambda: server.send(ada.user.user_id, "after", chat_id=chat_id))
    table = await server.database.fetch("SELECT seq FROM messages ORDER BY seq")
    assert [row[0] for row in table] == list(range(1, len(table) + 1))


async def test_rotated_password_is_read_at_the_next_connection(
    read_dsn: Callable[[], str],
) -> None:
    dsn = "postgresql://chat@127.0.0.1:1/nowhere"
    database = await Database(lambda: dsn, server_name="a").open()
    with pytest.raises(ServiceUnavailable):
        await database.ping()
    dsn = "::: half written"
    with pytest.raises(ServiceUnavailable):
        await database.ping()
    dsn = read_dsn()
    await database.ping()
    await database.close()
    with pytest.raises(ServiceUnavailable):
        await database.ping()


async def test_who_waits_while_nobody_leads_is_served_by_the_next_leader(read_dsn: Callable[[], str]) -> None:
    tried = []

    def changing() -> str:
        tried.append(True)
        return read_dsn() if len(tried) > NOBODY_TIMES else f"postgresql://chat@127.0.0.1:{free_port()}/chat"

    database = await Database(changing, server_name="a").open()
    try:
        await database.ping()
    finally:
        await database.close()
    assert len(tried) == NOBODY_TIMES + 1


async def test_listener_notices_that_its_connection_was_cut(server: Server) -> None:
    listener = await server.database.listen(lambda _: None)
    await listener.ping()
    await server.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%listen' "
        "AND datname = current_database()"
    )
    await asyncio.wait_for(listener.wait_closed(), 10)
    with pytest.raises(ServiceUnavailable):
        await listener.ping()


async def test_read_only_database_is_not_ready(server: Server) -> None:
    await server.database.ping()
    await server.database.execute(
        "DO $$ BEGIN EXECUTE format("
        "'ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$"
    )
    database = await Database(server.database._read_dsn, server_name="b").open()
    with pytest.raises(ServiceUnavailable):
        await database.ping()
    await database.close()


async def test_a_listen_that_hangs_leaves_no_connection_behind(
    postgres: PostgresCluster, read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_database, "STATEMENT_SECONDS", 0.2)
    port = int(postgres.dsn().rsplit(":", 1)[1].split("/", 1)[0])
    async with DatabaseProxy(port) as proxy:
        dsn = proxy.dsn(read_dsn().rsplit("/", 1)[1])
        database = await Database(lambda: dsn, server_name="one").open()
        proxy.is_deaf = True

        def open_listens() -> int:
            return proxy.listening

        for _ in range(5):
            with pytest.raises(ServiceUnavailable):
                await database.listen(lambda _: None)
        async with asyncio.timeout(30):
            while open_listens():
                await asyncio.sleep(0.02)
        proxy.is_deaf = False
        listener = await database.listen(lambda _: None)
        assert open_listens() == 1
        listener.close()
        await database.close()
