"""What goes wrong in a data centre, done to the servers, the database and the network of a test."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from tests.support.server import START_SECONDS

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tests.support.databaseproxy import DatabaseProxy
    from tests.support.network import Network
    from tests.support.postgres import PostgresCluster
    from tests.support.server import ServerProcess

CUT_LISTENERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'chatserver % listen'"
)
"""Ends each server's session that listens for notifications."""


POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to do, and how a log names it."""

    name: str
    happen: Callable[[], Awaitable[None]]


class Faults:
    """Makes faults and mends them; each returns when it is mended.

    Args:
        servers: with fixed ports, so that they come back where they were.
        postgres: their database.
        proxy: between the two.
        network: that the servers are in.
        chance: decides which server, and what of it.
        seconds: how long what lasts shall last: connections half-open, the bus a black hole.
    """

    def __init__(
        self,
        servers: list[ServerProcess],
        postgres: PostgresCluster,
        proxy: DatabaseProxy,
        network: Network,
        *,
        chance: random.Random,
        seconds: float,
    ) -> None:
        self._servers = servers
        self._postgres = postgres
        self._proxy = proxy
        self._network = network
        self._chance = chance
        self._seconds = seconds

    def plan(self) -> list[Fault]:
        """Return one of each kind, in an order by chance."""
        first, second = self._chance.sample(self._servers, 2)
        other, stalled = self._chance.sample(self._servers, 2)
        faults = [
            Fault(f"{first.name} killed", lambda: self._kill(first)),
            Fault(f"{second.name} half-open for {self._seconds:g} s", lambda: self._half_open(second)),
            Fault(f"{other.name} half-open, then killed", lambda: self._half_open(other, killed=True)),
            Fault(f"{stalled.name} stalled for {self._seconds:g} s", lambda: self._stall(stalled)),
            Fault("database killed", self._restart_database),
            Fault("bus cut five times", self._cut_bus),
            Fault(f"bus a black hole for {self._seconds:g} s", self._swallow_bus),
        ]
        self._chance.shuffle(faults)
        return faults

    async def _kill(self, server: ServerProcess) -> None:
        server.signal(signal.SIGKILL)
        await asyncio.to_thread(server.wait, START_SECONDS)
        await asyncio.to_thread(server.spawn)
        await _serving(server)

    async def _half_open(self, server: ServerProcess, *, killed: bool = False) -> None:
        port = int(server.url.rpartition(":")[2])
        await asyncio.to_thread(self._network.drop, port)
        try:
            await asyncio.sleep(self._seconds)
            if killed:
                # Nobody hears the resets of its connections.
                server.signal(signal.SIGKILL)
                await asyncio.to_thread(server.wait, START_SECONDS)
                await asyncio.to_thread(server.spawn)
        finally:
            await asyncio.to_thread(self._network.restore, port)
        await _serving(server)

    async def _stall(self, server: ServerProcess) -> None:
        server.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            server.signal(signal.SIGCONT)
        await _serving(server)

    async def _restart_database(self) -> None:
        await asyncio.to_thread(self._postgres.stop, "immediate")
        await asyncio.to_thread(self._postgres.start)
        for server in self._servers:
            await _serving(server)

    async def _cut_bus(self) -> None:
        for _ in range(5):
            await asyncio.to_thread(self._postgres.sql, CUT_LISTENERS)
            await asyncio.sleep(self._chance.uniform(0.1, 0.7))

    async def _swallow_bus(self) -> None:
        self._proxy.swallow()
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self._proxy.release()


async def _serving(server: ServerProcess) -> None:
    """Wait until a server takes part again."""
    async with asyncio.timeout(2 * START_SECONDS):
        while True:
            try:
                await asyncio.to_thread(server.wait_ready)
            except httpx.TransportError:
                await asyncio.sleep(POLL_SECONDS)
            else:
                return
