"""The generator charges a server for all that was due, and counts what came of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from bench import latencies, load
from bench.fleet import Fleet, merged
from bench.orders import Order, Person, Result

if TYPE_CHECKING:
    from bench.wires import Account

STALL_SECONDS = 0.1


class Server:
    """Answers each message at once, but the first one of all, with which it stalls."""

    def __init__(self, *, stall_seconds: float = 0.0, refuse: int = 0) -> None:
        self.stall_seconds = stall_seconds
        self.refuse = refuse
        self.urls: list[str] = []

    async def connect(self, account: Account, person: Person, url: str) -> Link:
        self.urls.append(url)
        return Link(self, account, person)


class Link:
    def __init__(self, server: Server, account: Account, person: Person) -> None:
        self.server, self.account, self.person = server, account, person

    def send(self, key: bytes, due_us: int) -> None:
        assert key
        time.sleep(self.server.stall_seconds)
        self.server.stall_seconds = 0
        if self.server.refuse > 0:
            self.server.refuse -= 1
            self.account.refused(self)
            return
        # Not before the generator is done with sending it, as over any wire.
        loop = asyncio.get_running_loop()
        loop.call_soon(self.account.acked, self, due_us)
        loop.call_soon(self.account.delivered, due_us)

    def close(self) -> None:
        pass


PAIRS = [[Person("a", "1"), Person("b")], [Person("c", "2"), Person("d")]]


async def carried_out(monkeypatch: pytest.MonkeyPatch, server: Server, order: Order) -> Result:
    monkeypatch.setitem(load.CONNECT, order.wire, server.connect)
    run = load.Run(order)
    assert (await run.connect()).connections == sum(map(len, order.parties))
    return await run.carry_out(time.monotonic_ns())


def ordered(**changes: object) -> Order:
    return Order(**{"wire": "chat", "urls": ["ws://one"], "parties": PAIRS, "mode": "open"} | changes)  # type: ignore[arg-type] # an order's own fields


async def test_a_stall_is_charged_to_all_messages_that_were_due_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    result = await carried_out(monkeypatch, Server(stall_seconds=STALL_SECONDS), ordered(rate=100, seconds=0.1))
    assert (result.sent, result.acked, result.delivered, result.refused) == (10, 10, 10, 0)
    # The nth message is due after n x 10 ms and cannot be sent before the stall is over: half of them wait 50 ms.
    assert latencies.percentiles(result.acked_us)["p50"] >= 49
    assert latencies.percentiles(result.delivered_us)["p50"] >= 49
    assert latencies.percentiles(result.late_us)["p50"] >= 49


async def test_a_process_sends_only_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    result = await carried_out(monkeypatch, Server(), ordered(rate=1000, seconds=0.01, process=1, processes=3))
    assert result.acked == 3


async def test_refused_sends_are_counted_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    result = await carried_out(monkeypatch, Server(refuse=3), ordered(rate=1000, seconds=0.01))
    assert (result.sent, result.acked, result.refused) == (10, 7, 3)


async def test_messages_of_an_earlier_load_are_none_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Repeating(Server):
        async def connect(self, account: Account, person: Person, url: str) -> Link:
            link = await super().connect(account, person, url)
            asyncio.get_running_loop().call_later(0.01, account.delivered, time.monotonic_ns() // 1000 - 5_000_000)
            return link

    result = await carried_out(monkeypatch, Repeating(), ordered(rate=100, seconds=0.05))
    assert result.delivered == result.acked == 5


@pytest.mark.parametrize(
    ("spread", "urls"),
    [
        (False, ["ws://one", "ws://one", "ws://two", "ws://two"]),
        (True, ["ws://one", "ws://two", "ws://two", "ws://one"]),
    ],
)
async def test_parties_take_servers_in_turn_and_their_people_too_when_spread(
    monkeypatch: pytest.MonkeyPatch, *, spread: bool, urls: list[str]
) -> None:
    server = Server()
    monkeypatch.setitem(load.CONNECT, "chat", server.connect)
    await load.Run(ordered(urls=["ws://one", "ws://two"], spread=spread)).connect()
    assert server.urls == urls


def test_results_of_processes_add_up() -> None:
    def result(acked: int, seconds: float, *values_us: int) -> Result:
        texts = latencies.encode(values_us)
        return Result(acked, acked, acked, 1, seconds, 0.5, texts, texts, texts)

    both = merged([result(2, 1.0, 1000, 2000), result(1, 3.0, 9000)])
    assert (both.sent, both.acked, both.delivered, both.refused) == (3, 3, 3, 2)
    # The rate is that of all over the time of the slowest: 3 messages in 3 s.
    assert (both.seconds, both.cpu_seconds) == (3.0, 1.0)
    assert both.acked_us == latencies.encode([1000, 2000, 9000])


def test_no_load_is_without_end() -> None:
    with pytest.raises(ValueError, match="at most 300"):
        Fleet(ordered(rate=1, seconds=301), 1)


async def test_a_refused_connection_is_tried_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shy(Server):
        refusals = 2

        async def connect(self, account: Account, person: Person, url: str) -> Link:
            if self.refusals:
                self.refusals -= 1
                raise ConnectionRefusedError("not yet")
            return await super().connect(account, person, url)

    monkeypatch.setattr(load, "RETRY_SECONDS", 0.001)
    monkeypatch.setitem(load.CONNECT, "chat", Shy().connect)
    connected = await load.Run(ordered()).connect()
    assert (connected.connections, connected.retries) == (4, 2)


async def test_the_first_messages_count_though_a_timer_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(load.CONNECT, "chat", Server().connect)
    run = load.Run(ordered(mode="closed", window=1, seconds=0.01))
    await run.connect()
    result = await run.carry_out(time.monotonic_ns() + 1_500_000)
    assert result.delivered == result.acked == result.sent
