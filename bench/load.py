"""The load generator, a process of its own: clients on WebSockets that send at a rate, or as fast as they are answered.

python -m bench.load result.json < order.json

Open loop: every message has a time at which it is due, and its latencies count from then, however late it was sent: a
server that stalls is charged for all that were due meanwhile (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
import time
from pathlib import Path
from typing import Literal, cast

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

TICK_SECONDS = 0.001
"""Between two looks at what is due."""

CONNECTS_AT_ONCE = 64

SETTLE_SECONDS = 30.0
"""Longest wait after the last send for what is missing."""

_ACK = b'{"type":"ack","id":"'
_MESSAGE = b'{"type":"message"'
_CLIENT_ID = b'"client_id":"'
_UUID_CHARS = 36


class Person(msgspec.Struct, frozen=True):
    """A signed-in device.

    Attributes:
        chat_id: where it sends; 0: it only listens.
    """

    token: str
    chat_id: int = 0


class Order(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        mode: ``open``: ``rate`` messages a second for ``seconds``; ``closed``: each sender keeps ``window`` messages on
            the way for ``seconds``; ``idle``: connect, say so with a line, and stay until stdin ends.
        run: a number that no other order on the same database has.
    """

    url: str
    people: list[Person]
    mode: Literal["open", "closed", "idle"]
    run: int
    seconds: float = 0.0
    rate: float = 0.0
    window: int = 0
    text: str = "Are you coming to the market with us this afternoon?"


class Result(msgspec.Struct, frozen=True):
    """What became of it; latencies in microseconds, from when a message was due.

    Attributes:
        seconds: from the first message due to the last acknowledged.
        lateness_us: how late the generator itself was in sending, to tell its own limits from the server's.
        refused: sends that were answered by an error.
    """

    sent: int
    acked: int
    delivered: int
    refused: int
    seconds: float
    cpu_seconds: float
    acked_us: list[int]
    delivered_us: list[int]
    lateness_us: list[int]


class Client(WSListener):
    """One connection."""

    def __init__(self, run: Run, person: Person) -> None:
        self.run = run
        self.person = person
        self.transport: WSTransport | None = None
        self.on_the_way = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows's name
        """Nothing can be sent any more."""
        self.transport = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count an ack, a message or a refusal."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type != WSMsgType.TEXT:
            return
        data = frame.get_payload_as_bytes()
        if data.startswith(_ACK):
            self.run.acked(self, _number(data, len(_ACK)))
        elif data.startswith(_MESSAGE):
            self.run.delivered(_number(data, data.index(_CLIENT_ID) + len(_CLIENT_ID)))
        elif data.startswith(b'{"type":"error"'):
            self.run.refused(self)

    def send(self, number: int) -> None:
        """Send a message whose client_id holds its number."""
        if self.transport is None:
            raise ConnectionError("the server has closed a connection of the generator")
        self.on_the_way += 1
        self.transport.send(WSMsgType.TEXT, self.run.frame(number, self.person.chat_id))


def _number(data: bytes, start: int) -> int:
    return int(data[start + _UUID_CHARS - 12 : start + _UUID_CHARS], 16)


class Run:
    """One order being carried out."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._prefix = b'{"type":"send","id":"%08x-0000-4000-8000-' % order.run
        self._suffix = b'","text":%s,"chat_id":' % msgspec.json.encode(order.text)
        self._due_ns: list[int] = []
        self._acked_us: list[int] = []
        self._delivered_us: list[int] = []
        self._lateness_us: list[int] = []
        self._refused = 0
        self._last_ack_ns = 0
        self._closed_until_ns = 0
        self._clients: list[Client] = []

    def frame(self, number: int, chat_id: int) -> bytes:
        """Return the frame of the message of this number."""
        return b"%s%012x%s%d}" % (self._prefix, number, self._suffix, chat_id)

    def acked(self, client: Client, number: int) -> None:
        """Note an ack, and send the next message in a closed loop."""
        self._last_ack_ns = time.monotonic_ns()
        self._acked_us.append((self._last_ack_ns - self._due_ns[number]) // 1000)
        client.on_the_way -= 1
        if self._last_ack_ns < self._closed_until_ns:
            self._send(client, self._last_ack_ns)

    def delivered(self, number: int) -> None:
        """Note a message at its recipient."""
        self._delivered_us.append((time.monotonic_ns() - self._due_ns[number]) // 1000)

    def refused(self, client: Client) -> None:
        """Note a refusal."""
        self._refused += 1
        client.on_the_way -= 1

    async def carry_out(self) -> Result | None:
        """Connect everybody and do what was ordered; None after ``idle``."""
        order = self._order
        await self._connect()
        if order.mode == "idle":
            print(len(self._clients), flush=True)
            await asyncio.to_thread(sys.stdin.read)
            return None
        senders = [client for client in self._clients if client.person.chat_id]
        cpu = _cpu_seconds()
        started_ns = time.monotonic_ns()
        if order.mode == "open":
            await self._at_rate(senders, started_ns)
        else:
            self._closed_until_ns = started_ns + int(order.seconds * 1e9)
            for client in senders:
                for _ in range(order.window):
                    self._send(client, time.monotonic_ns())
            await asyncio.sleep(order.seconds)
        await self._settle()
        return Result(
            sent=len(self._due_ns),
            acked=len(self._acked_us),
            delivered=len(self._delivered_us),
            refused=self._refused,
            seconds=(self._last_ack_ns - started_ns) / 1e9,
            cpu_seconds=_cpu_seconds() - cpu,
            acked_us=self._acked_us,
            delivered_us=self._delivered_us,
            lateness_us=self._lateness_us,
        )

    async def _connect(self) -> None:
        gate = asyncio.Semaphore(CONNECTS_AT_ONCE)

        async def connect(person: Person) -> Client:
            async with gate:
                _, listener = await ws_connect(
                    lambda: Client(self, person),
                    f"{self._order.url}/api/ws",
                    extra_headers={"Authorization": f"Bearer {person.token}"},
                )
            return cast("Client", listener)

        self._clients = await asyncio.gather(*map(connect, self._order.people))

    async def _at_rate(self, senders: list[Client], started_ns: int) -> None:
        turns = itertools.cycle(senders)
        total = int(self._order.rate * self._order.seconds)
        gap_ns = 1e9 / self._order.rate
        number = 0
        while number < total:
            now_ns = time.monotonic_ns()
            while number < total and (due_ns := started_ns + int(number * gap_ns)) <= now_ns:
                self._send(next(turns), due_ns)
                number += 1
            await asyncio.sleep(TICK_SECONDS)

    def _send(self, client: Client, due_ns: int) -> None:
        number = len(self._due_ns)
        self._due_ns.append(due_ns)
        client.send(number)
        self._lateness_us.append((time.monotonic_ns() - due_ns) // 1000)

    async def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            answered = len(self._acked_us) + self._refused
            if answered >= len(self._due_ns) and len(self._delivered_us) >= len(self._acked_us):
                return
            await asyncio.sleep(0.02)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Read an order from the first line of stdin, write its result to the file that is named."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    result = uvloop.run(Run(order).carry_out())
    if result is not None:
        Path(sys.argv[1]).write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
