"""I: what a message costs with one server and with many, with each bus, beside the one server of an earlier commit.

All run at once and are loaded in turns. Each has a PostgreSQL of its own, whose CPU is then that of its messages alone;
senders and recipients are on different servers.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bench import builds, limits, machine
from bench.measure import FAILURES, Measured, Row, loaded, ordered, since, used, warm_up
from bench.turns import Turns
from tests.support import valkey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.builds import Build
    from bench.machine import Chat
    from bench.orders import Order, Person
    from bench.sizes import Sizes

Bus = Literal["PostgreSQL", "Valkey"]

RATE = 1000.0
"""Messages per second at which costs are compared."""

FEW_CONNECTIONS = 2
"""Connections to PostgreSQL of each of many servers, besides the one that listens."""

MOST_DATABASE_CONNECTIONS = 400

COST, MOST, HALF, INSERTS = "servers", "servers most", "servers half", "servers inserts"
"""Names of the parts."""


@dataclass(slots=True)
class Found:
    """What was measured.

    Attributes:
        parts: rows by part.
        skipped: what cannot be measured here, and why.
        failed: what failed, and how.
    """

    parts: dict[str, list[Row]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setup:
    """Servers to start.

    Attributes:
        build: their chatserver.
        bus: between them.
        servers: processes.
        pool_size: connections of each to PostgreSQL.
    """

    build: Build
    bus: Bus
    servers: int
    pool_size: int = 8

    def __str__(self) -> str:
        return f"{self.servers} x {self.build.name}, {self.bus}"


@dataclass(eq=False, slots=True)
class Running:
    """Servers with their users.

    Attributes:
        most: messages per second that they reached in this round.
        idle: CPU seconds that all processes use in a second without a connection.
    """

    setup: Setup
    chat: Chat
    pairs: list[list[Person]]
    seconds: float
    most: float = 0.0
    idle: float = 0.0

    def __str__(self) -> str:
        return str(self.setup)

    def at_1000(self) -> Row:
        """Load them at the rate at which costs are compared."""
        return self._row(self._at(RATE))

    def at_most(self, window: int) -> Row:
        """Load them with as much as they acknowledge."""
        measured = loaded(self.chat, self._ordered(mode="closed", window=window))
        self.most = measured.acked_per_second
        return self._row(measured)

    def at_half(self) -> Row | None:
        """Load one server without a Valkey at half of what it reached in this round."""
        alone = self.setup.servers == 1 and self.setup.bus == "PostgreSQL"
        return self._row(self._at(self.most / 2)) if alone else None

    def _at(self, rate: float) -> Measured:
        return loaded(self.chat, self._ordered(mode="open", rate=rate))

    def _ordered(self, **order: object) -> Order:
        spread = self.setup.servers > 1
        return ordered(self.chat, self.pairs, seconds=self.seconds, spread=spread, **order)

    def _row(self, measured: Measured) -> Row:
        costs = measured.costs()["cpu us"]
        ours = sum(costs.values()) - costs["generator"]
        idle = round(1e6 * self.idle / measured.acked_per_second)
        return {
            "chatserver": self.setup.build.name,
            "bus": self.setup.bus,
            "servers": self.setup.servers,
            "messages/s": round(measured.acked_per_second),
            "cpu us": {"bus": 0, **costs, "without generator": ours, "above idle": max(0, ours - idle)},
            **measured.times(),
        }


def more_servers(build: Build, sizes: Sizes) -> Found:
    """Load few servers and the old one in turns, then many with one bus, then many with the other."""
    found = Found()
    buses = _buses(found)
    few = [Setup(build, bus, count) for bus in buses for count in sizes.servers]
    try:
        few.insert(0, Setup(builds.old(), "PostgreSQL", 1))
    except builds.NotBuiltError as reason:
        found.skipped[f"the chatserver of {builds.OLD_COMMIT}"] = str(reason)
    _in_turns(few, sizes, found, at_most=True)
    for bus in buses:
        many = [Setup(build, bus, count, FEW_CONNECTIONS) for count in sizes.many_servers]
        _in_turns(many, sizes, found, at_most=False)
    return found


def _in_turns(setups: Sequence[Setup], sizes: Sizes, found: Found, *, at_most: bool) -> None:
    with contextlib.ExitStack() as stack:
        running = []
        for setup in setups:
            try:
                running.append(stack.enter_context(_running(setup, sizes)))
            except FAILURES as error:
                found.failed[str(setup)] = f"{type(error).__name__}: {error}"
        turns = Turns(running)
        _idle(running, 2 * sizes.round_seconds)
        inserts = None
        if at_most:
            postgres = stack.enter_context(machine.durable_postgres())
            inserts = limits.Target(postgres, postgres.create_database())
        for _ in range(sizes.rounds):
            turns.each(COST, Running.at_1000)
            if inserts is not None:
                turns.each(MOST, lambda one: one.at_most(sizes.windows[-1]))
                turns.each(HALF, Running.at_half)
                rows = limits.inserts(inserts, sizes.round_seconds, sizes.pgbench_clients)
                found.parts.setdefault(INSERTS, []).extend(rows)
        for part, rows in turns.parts().items():
            found.parts.setdefault(part, []).extend(rows)
        found.failed |= {str(one): reason for one, reason in turns.failed.items()}


def _idle(running: Sequence[Running], seconds: float) -> None:
    """Measure all at once while nobody is connected: what processes cost that a message does not."""
    before = [used(one.chat) for one in running]
    time.sleep(seconds)
    for one, earlier in zip(running, before, strict=True):
        one.idle = sum(since(earlier, one.chat).values()) / seconds


@contextlib.contextmanager
def _running(setup: Setup, sizes: Sizes) -> Iterator[Running]:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(machine.durable_postgres(f"max_connections = {MOST_DATABASE_CONNECTIONS}"))
        bus = stack.enter_context(valkey.ValkeyProcess()) if setup.bus == "Valkey" else None
        chat = stack.enter_context(
            machine.chat(postgres, setup.servers, build=setup.build, valkey=bus, pool_size=setup.pool_size)
        )
        one = Running(setup, chat, chat.pairs(sizes.pairs), sizes.round_seconds)
        warm_up(chat, one.pairs, sizes.warm_up_seconds)
        yield one


def _buses(found: Found) -> tuple[Bus, ...]:
    try:
        valkey.program()
    except FileNotFoundError as reason:
        found.skipped["Valkey as the bus"] = str(reason)
        return ("PostgreSQL",)
    return ("PostgreSQL", "Valkey")
