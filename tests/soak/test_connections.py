"""A hundred thousand devices on one chat: what a connection costs each part, and how all of them come back.

Real parts: PostgreSQL on the disk, chatservers, HAProxies with the operator's configuration and TLS, on loopback. The
smoke version has hundreds and runs with the integration tests; `CHAT_SOAK_CONNECTIONS` sets the size of the soak.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.machine import durable_postgres
from bench.usage import cpu_seconds
from chatserver.storage.database import Database
from tests.support.findings import tell
from tests.support.flock import fill_devices
from tests.support.holders import Holders
from tests.support.proxyfarm import proxy_farm
from tests.support.server import ServerProcess, migrate

if TYPE_CHECKING:
    from tests.support.holder import Status
    from tests.support.postgres import PostgresCluster
    from tests.support.proxyfarm import ProxyFarm

SERVER_CONNECTIONS = 12_500
"""What a server takes at the default target of 10,000."""

TARGET_CONNECTIONS = 10_000
PROXY_CONNECTIONS = 8_000
"""A HAProxy process has two files a connection, of 20,000."""

KIB_A_CONNECTION = 110
"""Of all processes and the kernel together, the clients' too."""

SPARE_KIB = 2_000_000
WARM_UP = 50
"""Devices that connect before anything is measured, at each server."""

PATIENCE_SECONDS = 1500.0
HOLD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How large.

    Attributes:
        connections: devices, each with one.
        hold_seconds: for which they do nothing.
    """

    connections: int
    hold_seconds: float

    @property
    def servers(self) -> int:
        """One of them can be lost."""
        return max(2, math.ceil(self.connections / TARGET_CONNECTIONS))

    @property
    def proxies(self) -> int:
        """As many as their files suffice for."""
        return max(2, math.ceil(self.connections / PROXY_CONNECTIONS))


SOAK = Scale(int(os.environ.get("CHAT_SOAK_CONNECTIONS", "100000")), HOLD_SECONDS)


class Meter:
    """CPU and memory of each part, phase by phase."""

    def __init__(self, servers: list[ServerProcess], proxies: ProxyFarm, postgres: PostgresCluster) -> None:
        self.servers = servers
        self._proxies = proxies
        self._postgres = postgres
        self._cpu: dict[str, float] = {}
        self._began = 0.0
        self._servers_at_first = len(servers)
        self._empty_kib = self.memory_kib()

    def parts(self) -> dict[str, list[int]]:
        """The processes."""
        return {
            "server": [server.pid for server in self.servers],
            "proxy": self._proxies.pids(),
            "database": self._postgres.processes(),
        }

    def memory_kib(self) -> dict[str, int]:
        """What each part has, with its share of what processes share."""
        return {who: sum(map(_proportional_kib, pids)) for who, pids in self.parts().items()}

    def begin(self, clients: Status | None) -> None:
        """Begin a phase."""
        self._cpu = self._used(clients)
        self._began = time.monotonic()

    def end(self, phase: str, clients: Status, connections: int, total: int) -> None:
        """End a phase in which so many of all connections were made, or held."""
        seconds = time.monotonic() - self._began
        cpu = {who: used - self._cpu[who] for who, used in self._used(clients).items()}
        tell(
            f"{phase}: {connections} connections in {seconds:.1f} s ({connections / seconds:.0f}/s); "
            f"CPU us each: {_each(cpu, connections / 1e6)} ({sum(cpu.values()):.0f} s in all); "
            f"KiB each of {total}: {_each(self._grown_kib(), total)}"
        )
        tell(
            f"{phase}: tries {clients.tries}, TLS handshakes {clients.handshakes}, failed {clients.failed or 'none'}, "
            f"lost {clients.lost or 'none'}"
        )

    def _grown_kib(self) -> dict[str, float]:
        # Without what a killed server had when it was empty.
        share = {"server": len(self.servers) / self._servers_at_first}
        return {who: now - self._empty_kib[who] * share.get(who, 1) for who, now in self.memory_kib().items()}

    def _used(self, clients: Status | None) -> dict[str, float]:
        used = {who: cpu_seconds(pids) for who, pids in self.parts().items()}
        return {**used, "client": 0.0 if clients is None else clients.cpu_seconds}


def _each(amounts: dict[str, float], count: float) -> str:
    return ", ".join(f"{who} {amount / count:.1f}" for who, amount in amounts.items())


def _proportional_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        # It has just ended.
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def available_kib() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def connections_of(servers: list[ServerProcess]) -> list[int]:
    return [int(server.metric("chatserver_connections")) for server in servers]


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(Scale(300, 1.0), id="smoke", marks=pytest.mark.integration),
        pytest.param(SOAK, id="soak", marks=[pytest.mark.soak, pytest.mark.timeout(4 * PATIENCE_SECONDS)]),
    ],
)
async def test_all_come_back_after_all_proxies_reload_and_after_a_server_is_killed(scale: Scale) -> None:
    needed = KIB_A_CONNECTION * scale.connections + SPARE_KIB
    assert available_kib() >= needed, f"{needed // 2**20} GiB of memory must be available; set CHAT_SOAK_CONNECTIONS"
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(durable_postgres())
        dsn = postgres.dsn(postgres.create_database())
        await asyncio.to_thread(migrate, dsn)
        database = await Database(lambda: dsn, server_name="test").open()
        tokens = await fill_devices(database, scale.connections + WARM_UP * scale.servers)
        await database.close()
        tokens, early = tokens[: scale.connections], tokens[scale.connections :]
        servers = [
            ServerProcess(
                dsn,
                f"server-{number}",
                CHAT_MAX_CONNECTIONS=SERVER_CONNECTIONS,
                # Who leaves here leaves because of the reload, or of the kill.
                CHAT_SHED_PERCENT_PER_SECOND=0,
            )
            for number in range(scale.servers)
        ]
        for server in servers:
            # All start at once.
            server.start_seconds = PATIENCE_SECONDS
        await asyncio.gather(*(asyncio.to_thread(stack.enter_context, server) for server in servers))
        await asyncio.gather(*(asyncio.to_thread(server.wait_ready) for server in servers))
        proxies = stack.enter_context(
            proxy_farm(
                scale.proxies,
                [server.url.removeprefix("http://") for server in servers],
                server_connections=math.ceil(SERVER_CONNECTIONS / (scale.proxies - 1)),
                # What is measured begins when the old workers end.
                changes=[("hard-stop-after .*", "hard-stop-after 1s")],
            )
        )
        async with Holders(proxies.doors, early) as warm:
            await warm.all_held(PATIENCE_SECONDS)
        meter = Meter(servers, proxies, postgres)

        meter.begin(None)
        clients = await stack.enter_async_context(Holders(proxies.doors, tokens))
        try:
            await clients.all_held(PATIENCE_SECONDS)
        finally:
            # As far as it came, if it is interrupted.
            made = max(1, clients.status().held)
            meter.end("connect", clients.status(), made, made)
        assert sum(connections_of(servers)) == scale.connections

        meter.begin(clients.status())
        await asyncio.sleep(scale.hold_seconds)
        held = clients.status()
        meter.end(f"hold {scale.hold_seconds:.0f} s", held, scale.connections, scale.connections)
        assert (held.held, held.lost) == (scale.connections, {})

        meter.begin(held)
        proxies.reload()
        await clients.all_held(PATIENCE_SECONDS, lost=scale.connections)
        now = clients.status()
        meter.end("all proxies reload", now, scale.connections, scale.connections)

        killed = servers.pop(0)
        had = connections_of([killed])[0]
        meter.begin(now)
        killed.__exit__()
        await clients.all_held(PATIENCE_SECONDS, lost=sum(now.lost.values()) + had)
        now = clients.status()
        meter.end("a server is killed", now, had, scale.connections)
        assert sum(connections_of(servers)) == scale.connections
        assert all("without" not in why for why in now.failed), f"a refusal did not say when to come back: {now.failed}"
