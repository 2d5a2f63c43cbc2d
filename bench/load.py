"""The load generator, a process of its own: clients that send at a rate, or as fast as they are answered.

python -m bench.load: reads an order from the first line of stdin, connects, writes a line, waits for a line with the
start time, executes the order, and writes its result. It exits when its stdin is closed.

Open loop: every message has a time at which it is due, and its latencies count from then, however late it was sent: a
stall of the server counts for all messages that were due meanwhile (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import resource
import ssl
import sys
import time
from array import array
from typing import TYPE_CHECKING

import msgspec
import uvloop

from bench import latencies, schedule
from bench.orders import Connected, Order, Result
from bench.wires import http, matrix, websocket, xmpp

if TYPE_CHECKING:
    from bench.orders import Person
    from bench.wires import Connect, Connection

TICK_SECONDS = 0.001
"""Seconds between checks for due messages."""

CONNECTS_AT_ONCE = 64
"""Concurrent connects of each process, except in the mode ``sync``, where all connect at once."""

SETTLE_SECONDS = 60.0
"""Longest wait after the last send for missing acknowledgements and messages."""

RETRY_SECONDS = 0.2
"""Seconds before a rejected connection is retried; each further wait is longer by as much."""

CONNECT_TRIES = 10
SYNC_TRIES = 100
"""In a reconnect storm, clients retry until the end of the load."""

CONNECT: dict[str, Connect] = {
    "chat": websocket.connect,
    "rest": http.connect,
    "xmpp": xmpp.connect,
    "matrix": matrix.connect,
}


class Run:
    """The execution of one order."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.tls = ssl.create_default_context(cafile=order.authority) if order.authority else None
        self._connect_one = CONNECT[order.wire]
        self._acked_us = array("q")
        self._delivered_us = array("q")
        self._late_us = array("q")
        self._sent = 0
        self._refused = 0
        # Nothing counts before the start time.
        self._started_us = sys.maxsize
        self._retries = 0
        self._expected = 0
        self._last_ack_ns = 0
        self._closed_until_ns = 0
        self._failure: BaseException | None = None
        self._senders: list[Connection] = []
        self._reached: dict[int, int] = {}

    def acked(self, connection: Connection, due_us: int) -> None:
        """Count an ack; in a closed loop, send the next message."""
        self._last_ack_ns = now_ns = time.monotonic_ns()
        self._acked_us.append(now_ns // 1000 - due_us)
        self._expected += self._reached[id(connection)]
        if now_ns < self._closed_until_ns:
            self._send(connection, now_ns)

    def delivered(self, due_us: int) -> None:
        """Count a message at its recipient, but not one of an earlier load, which some servers send again."""
        if due_us >= self._started_us:
            self._delivered_us.append(time.monotonic_ns() // 1000 - due_us)

    def refused(self, connection: Connection) -> None:  # noqa: ARG002 - any of them
        """Count a rejected send."""
        self._refused += 1

    def failed(self, error: BaseException) -> None:
        """Record the first error of a connection."""
        self._failure = self._failure or error

    async def connect(self) -> Connected:
        """Connect all clients, a few at a time."""
        started = time.monotonic()
        gate = asyncio.Semaphore(CONNECTS_AT_ONCE)

        async def one(person: Person, url: str) -> Connection:
            async with gate:
                return await self._persist(person, url, CONNECT_TRIES)

        places = list(self._places())
        made = await asyncio.gather(*(one(person, url) for person, url, _ in places))
        for connection, (person, _, reached) in zip(made, places, strict=True):
            if person.target:
                self._senders.append(connection)
                self._reached[id(connection)] = reached
        return Connected(len(made), self._retries, time.monotonic() - started)

    async def _persist(self, person: Person, url: str, most_tries: int) -> Connection:
        """Connect, and retry as clients do."""
        for tries in itertools.count(1):
            try:
                return await self._connect_one(self, person, url)
            except OSError:
                if tries == most_tries:
                    raise
                self._retries += 1
                await asyncio.sleep(RETRY_SECONDS * tries)
        raise AssertionError("counting ends never")

    def _places(self) -> list[tuple[Person, str, int]]:
        """Return each person, its server, and how many others its messages reach."""
        urls, order = self.order.urls, self.order
        turns = itertools.count(order.process)
        places = []
        for party in order.parties:
            turn = next(turns)
            for place, person in enumerate(party):
                server = turn + place if order.spread else turn
                places.append((person, urls[server % len(urls)], len(party) - 1))
        return places

    async def carry_out(self, started_ns: int) -> Result:
        """Execute the order, beginning at that time of the monotonic clock."""
        # A timer may fire a little early.
        while (early_ns := started_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110 - no event, a time
            await asyncio.sleep(early_ns / 1e9)
        cpu = _cpu_seconds()
        # Rows of a sync have no due time.
        self._started_us = 0 if self.order.mode == "sync" else started_ns // 1000
        if self.order.mode == "sync":
            await self._sync(started_ns)
        elif self.order.mode == "open":
            await self._at_rate(started_ns)
        else:
            await self._at_once(started_ns)
        await self._settle()
        cpu_seconds = _cpu_seconds() - cpu
        return Result(
            sent=self._sent,
            acked=len(self._acked_us),
            delivered=len(self._delivered_us),
            refused=self._refused + (self._retries if self.order.mode == "sync" else 0),
            seconds=(self._last_ack_ns - started_ns) / 1e9,
            cpu_seconds=cpu_seconds,
            acked_us=latencies.encode(self._acked_us),
            # A sync returns old rows, whose due times have no meaning.
            delivered_us=latencies.encode(() if self.order.mode == "sync" else self._delivered_us),
            late_us=latencies.encode(self._late_us),
        )

    async def _at_rate(self, started_ns: int) -> None:
        order = self.order
        turns = itertools.cycle(self._senders)
        total = schedule.own_count(order.rate, order.seconds, order.process, order.processes)
        number = 0
        while number < total and self._failure is None:
            now_ns = time.monotonic_ns()
            while number < total:
                due_ns = schedule.due_ns(started_ns, order.rate, number, order.process, order.processes)
                if due_ns > now_ns:
                    break
                self._send(next(turns), due_ns)
                number += 1
            await asyncio.sleep(TICK_SECONDS)

    async def _at_once(self, started_ns: int) -> None:
        self._closed_until_ns = started_ns + int(self.order.seconds * 1e9)
        for sender in self._senders:
            for _ in range(self.order.window):
                self._send(sender, time.monotonic_ns())
        await asyncio.sleep(self.order.seconds)

    async def _sync(self, started_ns: int) -> None:
        async def one(person: Person, url: str) -> None:
            await self._persist(person, url, SYNC_TRIES)
            self._last_ack_ns = time.monotonic_ns()
            self._acked_us.append((self._last_ack_ns - started_ns) // 1000)

        places = self._places()
        self._sent = len(places)
        await asyncio.wait_for(asyncio.gather(*(one(person, url) for person, url, _ in places)), self.order.seconds)

    def _send(self, connection: Connection, due_ns: int) -> None:
        self._sent += 1
        due_us = due_ns // 1000
        connection.send(schedule.key(self._sent, self.order.process, due_us), due_us)
        self._late_us.append((time.monotonic_ns() - due_ns) // 1000)

    async def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            if self._failure is not None:
                raise self._failure
            answered = len(self._acked_us) + self._refused
            if self.order.mode == "sync":
                return
            if answered >= self._sent and len(self._delivered_us) >= self._expected:
                return
            await asyncio.sleep(0.02)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _serve(order: Order) -> None:
    run = Run(order)
    connected = Connected(0, 0, 0.0) if order.mode == "sync" else await run.connect()
    # Existing objects stay, and a load creates no cycles.
    gc.collect()
    gc.freeze()
    gc.disable()
    _say(connected)
    line = await asyncio.to_thread(sys.stdin.readline)
    if line.strip():
        _say(await run.carry_out(int(line)))
        await asyncio.to_thread(sys.stdin.read)


def _say(what: msgspec.Struct) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


def main() -> None:
    """Execute the order on stdin."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(_serve(msgspec.json.decode(sys.stdin.readline(), type=Order)))


if __name__ == "__main__":
    main()
