"""After a scale-up a server with more than its share sheds clients, who land on the new one; and then all rest."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

import asyncpg
import pytest

from chatserver.messaging.pacing import pace_of
from chatserver.metrics import Metrics
from chatserver.settings import read_settings
from chatserver.storage import servers
from chatserver.storage.database import Database
from chatserver.wiring import make_context
from tests.support.findings import tell
from tests.support.flock import Flock, LeastConnections, fill_devices
from tests.support.server import ServerProcess, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.integration

CLIENTS = 160
PERCENT_PER_SECOND = 10
SETTLE_SECONDS = 120.0


@pytest.fixture
async def database(read_dsn: Callable[[], str]) -> AsyncIterator[Database]:
    database = await Database(read_dsn, server_name="test").open()
    yield database
    await database.close()


async def test_a_new_server_gets_its_share_and_then_all_rest(read_dsn: Callable[[], str], database: Database) -> None:
    tokens = await fill_devices(database, CLIENTS)
    proxy = LeastConnections()
    with ExitStack() as stack:

        async def start(name: str) -> ServerProcess:
            server = ServerProcess(
                read_dsn(), name, CHAT_HEARTBEAT_SECONDS=0.3, CHAT_SHED_PERCENT_PER_SECOND=PERCENT_PER_SECOND
            )
            await asyncio.to_thread(stack.enter_context, server)
            return server

        old = await proxy.add(await start("old"))
        async with Flock(proxy, tokens) as flock:
            await flock.all_connected(SETTLE_SECONDS)
            assert old.server.metric("chatserver_shed_total") == 0, "nobody is asked while there is nowhere else"
            new = await proxy.add(await start("new"))
            async with asyncio.timeout(SETTLE_SECONDS):
                while "shedding_ends" not in old.server.log_text():
                    await asyncio.sleep(0.2)
                while len(flock.stays) < old.server.metric("chatserver_shed_total"):
                    await asyncio.sleep(0.2)
            await flock.all_connected(SETTLE_SECONDS)
            shed = int(old.server.metric("chatserver_shed_total"))
            tell(f"shedding: {CLIENTS} / 0 became {old.connections} / {new.connections} by asking {shed}")
            # 1.05 x the mean of 80, and not below it.
            assert CLIENTS // 2 <= old.connections <= CLIENTS * 1.05 // 2
            assert shed == len(flock.stays), "each who was asked left, and nobody else"
            assert {stay.server for stay in flock.stays} == {"old"}
            assert all(len(stay.asked) == 1 for stay in flock.stays), "nobody was asked twice"
            assert all(not stay.by_server and stay.code == 1000 for stay in flock.stays)
            assert new.server.metric("chatserver_shed_total") == 0
    await proxy.close()


async def test_heartbeats_tell_of_live_servers_only(database: Database) -> None:
    async def beat(name: str, connections: int, *, draining: bool = False) -> list[int]:
        others = await servers.beat(
            database, name, connections=connections, draining=draining, gone_seconds=15, bus="PostgreSQL"
        )
        return others.connections

    assert await beat("a", 5) == []
    assert await beat("b", 7) == [5]
    assert await beat("c", 9, draining=True) == [5, 7]
    assert await beat("a", 6) == [7]
    await database.execute("UPDATE servers SET seen_at = now() - interval '16 seconds' WHERE server_name = 'b'")
    assert await beat("a", 6) == []
    assert [row[0] for row in await database.fetch("SELECT server_name FROM servers ORDER BY 1")] == ["a", "c"]
    assert await beat("b", 3) == [6], "who was away is back with the next heartbeat"


async def test_a_server_paces_its_batches_as_one_of_those_that_are_live(
    read_dsn: Callable[[], str], database: Database
) -> None:
    context = make_context(read_settings(environment(read_dsn(), CHAT_SERVER_NAME="own")), Metrics())
    await context.database.open()
    try:
        for live in (1, 2, 3):
            await context.balancer.beat(0.0)
            assert context.writer.pace_seconds == pace_of(live)
            name = f"other-{live}"
            await servers.beat(database, name, connections=0, draining=False, gone_seconds=15, bus="PostgreSQL")
        await database.execute("UPDATE servers SET seen_at = now() - interval '16 seconds'")
        await context.balancer.beat(0.0)
        assert context.writer.pace_seconds == pace_of(1)
    finally:
        await context.database.close()


async def test_servers_that_come_back_together_do_not_wait_for_each_other(
    read_dsn: Callable[[], str], database: Database
) -> None:
    async def beat(name: str) -> list[int]:
        beaten = servers.beat(database, name, connections=1, draining=False, gone_seconds=15, bus="PostgreSQL")
        return (await beaten).connections

    names = [f"server-{number}" for number in range(6)]
    for _ in range(10):
        await asyncio.gather(*(beat(name) for name in names))
        assert await beat(names[0]) == [1] * 5, "each is there"
        await database.execute("UPDATE servers SET seen_at = now() - interval '1 hour'")
    # One of them is just writing that it is back, and takes its time.
    slow = await asyncpg.connect(read_dsn())
    try:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute("UPDATE servers SET seen_at = now() WHERE server_name = $1", names[1])
        async with asyncio.timeout(SETTLE_SECONDS):
            assert await beat(names[0]) == [], "who is not back yet is neither waited for nor forgotten"
        await transaction.commit()
    finally:
        await slow.close()
    assert await beat(names[0]) == [1]
