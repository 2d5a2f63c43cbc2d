"""Servers whose bus is Valkey: messages arrive without a NOTIFY, and the registry says where users are."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from chatserver.storage.database import Database
from tests.support.busfaults import bus_faults
from tests.support.crowd import Crowd
from tests.support.findings import tell
from tests.support.registry import registered, registry_is_true
from tests.support.server import ServerProcess
from tests.support.valkey import ValkeyProcess, bus_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

SIZE = 8
WAIT_SECONDS = 60
FAULT_SECONDS = 5.0
"""Longer than a Valkey may be silent."""


@pytest.fixture
def valkeys() -> Iterator[list[ValkeyProcess]]:
    with ValkeyProcess() as one, ValkeyProcess() as other:
        yield [one, other]


@pytest.fixture
def processes(read_dsn: Callable[[], str], valkeys: list[ValkeyProcess]) -> Iterator[list[ServerProcess]]:
    with ExitStack() as stack:
        started = [
            stack.enter_context(ServerProcess(read_dsn(), f"server-{number}", **bus_environment(valkeys)))
            for number in range(2)
        ]
        for process in started:
            process.wait_ready()
        yield started


def database_of(read_dsn: Callable[[], str]) -> str:
    return read_dsn().rpartition("/")[2]


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asyncio.to_thread(done):
            await asyncio.sleep(0.1)


async def test_messages_arrive_without_a_notify(
    postgres: PostgresCluster, read_dsn: Callable[[], str], processes: list[ServerProcess], valkeys: list[ValkeyProcess]
) -> None:
    notified: list[str] = []
    database = await Database(read_dsn, server_name="listener", pool_size=1).open()
    listener = await database.listen(notified.append)
    try:
        chance = random.Random(1)  # noqa: S311 - which server is met is no secret
        urls = [process.url for process in processes]
        async with Crowd(urls, size=SIZE, messages_per_second=4, chance=chance) as crowd:
            await registry_is_true(valkeys, postgres, database_of(read_dsn), crowd.user_ids)
            await until(lambda: len(crowd.acked_at) > 20 * SIZE)
            account = await crowd.finish()
            tell(f"{account} by Valkey, longest way to a recipient {crowd.longest_delivery_seconds():.1f} s")
        assert account.clean, account
        assert notified == []
        assert sum(process.metric("chatserver_gaps_healed_total") for process in processes) == 0
    finally:
        listener.close()
        await database.close()


async def test_the_registry_is_the_truth_after_a_server_was_killed(
    processes: list[ServerProcess], valkeys: list[ValkeyProcess]
) -> None:
    first, second = processes
    chance = random.Random(2)  # noqa: S311 - which server is met is no secret
    urls = [first.url, second.url]
    async with Crowd(urls, size=SIZE, messages_per_second=4, chance=chance) as crowd:
        # From now on all are met by the second one.
        urls[:] = [second.url]
        first.signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait, WAIT_SECONDS)
        await until(lambda: registered(valkeys) == {("server-1", user_id) for user_id in crowd.user_ids})
        account = await crowd.finish()
    assert account.clean, account


async def test_everything_arrives_whatever_happens_to_valkey(
    postgres: PostgresCluster, read_dsn: Callable[[], str], processes: list[ServerProcess], valkeys: list[ValkeyProcess]
) -> None:
    chance = random.Random(4)  # noqa: S311 - which server is met is no secret
    async with Crowd([process.url for process in processes], size=SIZE, messages_per_second=2, chance=chance) as crowd:
        for fault in bus_faults(valkeys, seconds=FAULT_SECONDS):
            began = time.monotonic()
            await fault.happen()
            await registry_is_true(valkeys, postgres, database_of(read_dsn), crowd.user_ids)
            await until(lambda: all(process.metric("chatserver_bus_connected") == 1 for process in processes))
            sent = len(crowd.acked_at)
            await until(lambda before=sent: len(crowd.acked_at) > before + SIZE)  # type: ignore[misc]
            late = crowd.longest_delivery_seconds(since=began)
            tell(f"{fault.name}: well after {time.monotonic() - began:.1f} s, longest way to a recipient {late:.1f} s")
        account = await crowd.finish()
    assert account.clean, account


async def test_everything_arrives_while_servers_of_both_buses_serve(
    read_dsn: Callable[[], str], valkeys: list[ValkeyProcess]
) -> None:
    chance = random.Random(3)  # noqa: S311 - which server is met is no secret
    with ExitStack() as stack:

        def start(name: str, settings: dict[str, str]) -> ServerProcess:
            process = stack.enter_context(ServerProcess(read_dsn(), name, CHAT_HEARTBEAT_SECONDS=0.5, **settings))
            process.wait_ready()
            return process

        old = await asyncio.to_thread(start, "server-0", {})
        new = await asyncio.to_thread(start, "server-1", bus_environment(valkeys))
        urls = [old.url, new.url]
        async with Crowd(urls, size=SIZE, messages_per_second=4, chance=chance) as crowd:
            await until(lambda: len(crowd.acked_at) > 10 * SIZE)
            newer = await asyncio.to_thread(start, "server-2", bus_environment(valkeys))
            urls[:] = [new.url, newer.url]
            old.terminate()
            await asyncio.to_thread(old.wait, WAIT_SECONDS)
            await until(lambda: all(_events(process, "fleet_not_mixed") for process in (new, newer)))
            sent = len(crowd.acked_at)
            await until(lambda: len(crowd.acked_at) > sent + 10 * SIZE)
            account = await crowd.finish()
            tell(f"{account} while the bus changed, longest way {crowd.longest_delivery_seconds():.1f} s")
    assert account.clean, account


def _events(process: ServerProcess, name: str) -> int:
    return sum(event["event"] == name for event in process.events())
