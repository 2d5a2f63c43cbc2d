"""Real servers, real clients, real faults: every acknowledged message is at every recipient once and in order.

After each fault Valkey's registry, where it is the bus, is compared with where users are connected.

The smoke version runs each fault once; the soak, run by `make soak`, has many clients and goes on for
CHAT_SOAK_SECONDS. CHAT_SOAK_SEED repeats a run's faults.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from chatcluster_client import connection
from tests.support.busfaults import bus_faults
from tests.support.crowd import Crowd
from tests.support.databaseproxy import DatabaseProxy
from tests.support.faults import Faults
from tests.support.findings import tell
from tests.support.network import Network, private_network
from tests.support.postgres import PostgresCluster
from tests.support.registry import registry_is_true
from tests.support.server import ServerProcess, migrate
from tests.support.valkey import bus_environment, running_bus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.support.valkey import ValkeyProcess

SERVERS = 4
FIRST_PORT = 8001
"""In a network of its own a test may choose."""

SOAK_SECONDS = float(os.environ.get("CHAT_SOAK_SECONDS", "600"))
BLACK_HOLE_SECONDS = 60.0

ARRIVAL_SECONDS = 60.0
"""Longest wait for what a server finds by looking for itself."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a soak.

    Attributes:
        fault_seconds: how long a fault lasts that lasts.
        ping_seconds: the clients' pings; a connection is given up after two of them.
        soak_seconds: faults go on for so long; 0: each once.
    """

    clients: int
    messages_per_second: float
    fault_seconds: float
    ping_seconds: float
    soak_seconds: float


SMOKE = Scale(clients=12, messages_per_second=1.5, fault_seconds=3, ping_seconds=1, soak_seconds=0)
FULL = Scale(
    clients=200, messages_per_second=0.5, fault_seconds=30, ping_seconds=connection.PING_SECONDS,
    soak_seconds=SOAK_SECONDS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A network and a database of a test's own, to be broken."""

    network: Network
    postgres: PostgresCluster
    database: str


@pytest.fixture
def site() -> Iterator[Site]:
    """Where the servers run; everything that the test starts is in this network."""
    with ExitStack() as stack:
        try:
            network = stack.enter_context(private_network())
        except PermissionError as error:
            pytest.skip(f"dropping packets needs root: {error}")
        postgres = stack.enter_context(PostgresCluster())
        yield Site(network, postgres, postgres.create_database())


@pytest.fixture
def chance() -> random.Random:
    """What decides on faults; its seed is told."""
    seed = int(os.environ.get("CHAT_SOAK_SEED") or secrets.randbelow(10**6))
    tell(f"soak: CHAT_SOAK_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - which faults are made is no secret


@pytest.fixture(params=["PostgreSQL", "Valkey"])
def valkeys(request: pytest.FixtureRequest, site: Site) -> Iterator[list[ValkeyProcess]]:
    """The bus of the servers: none of these, or two that share the users."""
    del site  # only first: Valkey is in its network
    with running_bus(request.param) as valkeys:
        yield valkeys


@asynccontextmanager
async def serving(
    site: Site, valkeys: Sequence[ValkeyProcess], count: int = SERVERS
) -> AsyncIterator[tuple[list[ServerProcess], DatabaseProxy]]:
    """Servers on one database, with a proxy between that can swallow the bus."""
    await asyncio.to_thread(migrate, site.postgres.dsn(site.database))
    async with DatabaseProxy(site.postgres.port) as proxy:
        dsn, bus = proxy.dsn(site.database), bus_environment(valkeys)
        servers = [
            ServerProcess(dsn, f"server-{number}", CHAT_HTTP_PORT=FIRST_PORT + number, **bus) for number in range(count)
        ]
        with ExitStack() as stack:
            await asyncio.gather(*(asyncio.to_thread(stack.enter_context, server) for server in servers))
            for server in servers:
                await asyncio.to_thread(server.wait_ready)
            yield servers, proxy


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(SMOKE, id="smoke", marks=pytest.mark.integration),
        pytest.param(FULL, id="soak", marks=[pytest.mark.soak, pytest.mark.timeout(SOAK_SECONDS + 900)]),
    ],
)
async def test_every_acknowledged_message_is_at_every_recipient_once_and_in_order_whatever_dies(
    site: Site,
    valkeys: list[ValkeyProcess],
    chance: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    scale: Scale,
) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", scale.ping_seconds)
    async with serving(site, valkeys) as (servers, proxy):
        faults = Faults(servers, site.postgres, proxy, site.network, chance=chance, seconds=scale.fault_seconds)
        urls = [server.url for server in servers]
        async with Crowd(
            urls, size=scale.clients, messages_per_second=scale.messages_per_second, chance=chance
        ) as crowd:
            started = time.monotonic()
            while True:
                planned = [*faults.plan(), *bus_faults(valkeys, seconds=scale.fault_seconds, network=site.network)]
                chance.shuffle(planned)
                for fault in planned:
                    begun = time.monotonic()
                    await fault.happen()
                    tell(f"soak: {begun - started:5.1f} s: {fault.name}, mended after {time.monotonic() - begun:.1f} s")
                    await registry_is_true(valkeys, site.postgres, site.database, crowd.user_ids)
                    await asyncio.sleep(chance.uniform(0.2, 1))
                if time.monotonic() - started >= scale.soak_seconds:
                    break
            account = await crowd.finish()
            tell(
                f"{account} (from {crowd.longest_gap_began() - started:.0f} s on), "
                f"longest way to a recipient {crowd.longest_delivery_seconds():.1f} s"
            )
    assert account.clean, account
    assert account.refused == 0


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(6.0, id="smoke", marks=pytest.mark.integration),
        pytest.param(BLACK_HOLE_SECONDS, id="soak", marks=pytest.mark.soak),
    ],
)
async def test_idle_recipients_get_every_message_though_the_bus_is_a_black_hole(
    site: Site, valkeys: list[ValkeyProcess], chance: random.Random, seconds: float
) -> None:
    async with serving(site, valkeys, 2) as (servers, proxy):
        urls = [server.url for server in servers]
        async with Crowd(urls, size=8, messages_per_second=1, chance=chance) as crowd:
            connections = [list(device.live.closes) for device in crowd.devices]
            proxy.swallow()
            began = time.monotonic()
            await asyncio.sleep(seconds)
            crowd.fall_silent()
            # Only then does the bus speak again: nothing of this was told by it.
            async with asyncio.timeout(ARRIVAL_SECONDS):
                while crowd.missing(since=began):
                    await asyncio.sleep(0.1)
            proxy.release()
            tell(
                f"bus a black hole for {time.monotonic() - began:.0f} s: longest way of a message to an idle recipient "
                f"{crowd.longest_delivery_seconds(since=began):.1f} s"
            )
            assert [device.live.closes for device in crowd.devices] == connections, "nobody had to connect again"
            assert proxy.swallowed
            account = await crowd.finish()
    assert account.clean, account
