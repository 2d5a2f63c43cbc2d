"""Rate limits that count across servers, by a real Valkey, and what they are while it does not work."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from chatoperator.parts.bus.credentials import RIGHTS
from chatserver.bus_settings import BusSettings, ValkeyAddress
from chatserver.fanout.valkey.limit_counts import USAGES_TOGETHER, LimitCounts
from chatserver.fanout.valkey.link import open_link
from chatserver.fanout.valkey.node import Callbacks, Node
from chatserver.limits.shared import Taken
from chatserver.limits.sharing import Usage
from monitoring.rules.rendering import rule_file
from tests.support.cluster import until as seen
from tests.support.devices import sign_in
from tests.support.findings import tell
from tests.support.livechat import target
from tests.support.plainhttp import NO_TLS
from tests.support.prometheus import Prometheus
from tests.support.server import ServerProcess
from tests.support.sharedlimits import SharedCount
from tests.support.valkey import ValkeyProcess, bus_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from chatserver.fanout.valkey.link import Link
    from tests.support.devices import Socket

pytestmark = pytest.mark.integration

WAIT_SECONDS = 60
ALERT = "ChatLimitsNotShared"
RULES_SCALE = 60
"""Five minutes of the rules are five seconds here."""

LIMIT = 120
"""Of each kind in a minute."""

SLACK = LIMIT // 4
"""Far more than is stated (a sixtieth and what is under way), far less than a second server's limit."""


@pytest.fixture
def valkey() -> Iterator[ValkeyProcess]:
    with ValkeyProcess() as running:
        yield running


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asyncio.to_thread(done):
            await asyncio.sleep(0.05)


# --- the count


@asynccontextmanager
async def counting(*valkeys: ValkeyProcess) -> AsyncIterator[tuple[LimitCounts, list[Node]]]:
    """One server's counts on these Valkeys."""
    settings = BusSettings(bus_type="Valkey")

    def node(valkey: ValkeyProcess) -> Node:
        async def connect(on_message: Callable[[bytes], None]) -> Link:
            return await open_link(ValkeyAddress("127.0.0.1", valkey.port, tls=False), settings, on_message)

        nothing = Callbacks(lambda _: None, lambda: None, lambda: None, lambda: None)
        return Node(
            connect, prefix="chat", incarnation="server.1", users=lambda: (), watched=lambda: (), callbacks=nothing
        )

    nodes = [node(valkey) for valkey in valkeys]
    tasks = [asyncio.create_task(each.run()) for each in nodes]
    try:
        await until(lambda: all(each.is_healthy() for each in nodes))
        yield LimitCounts(nodes, "chat"), nodes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def usage(number: int, taken_ms: int, known_ms: int = 0) -> Usage:
    return Usage(number, f"messages:{number}", taken_ms, known_ms)


async def test_valkey_counts_as_the_tests_without_it_suppose(valkey: ValkeyProcess) -> None:
    chance, model = random.Random(1), SharedCount()  # noqa: S311 - a test's choice
    began = time.monotonic()
    async with counting(valkey) as (counts, _):
        for _ in range(50):
            # So much that nothing expires meanwhile.
            usages = [
                usage(number, chance.randrange(10**8, 10**9), chance.choice((0, 10**9)))
                for number in chance.sample(range(20), 5)
            ]
            now = time.monotonic()
            answers = await counts.count(usages)
            supposed = model.count([Taken(each.number, each.taken_ms, each.known_ms) for each in usages], now)
            passed_ms = 1000 * (time.monotonic() - began)
            for answer, seconds in zip(answers, supposed, strict=True):
                assert answer is not None
                assert abs(answer - 1000 * seconds) <= passed_ms + 2


async def test_what_is_full_again_takes_no_memory(valkey: ValkeyProcess) -> None:
    async with counting(valkey) as (counts, _):
        assert await counts.count([usage(1, 20), usage(2, 3_600_000)]) == [20, 3_600_000]
        await until(lambda: valkey.call("EXISTS", "chat:limit:messages:1") == 0)
        assert 0 < valkey.call("PTTL", "chat:limit:messages:2") <= 3_600_000
        # Valkey has lost it, and this server knows of it.
        valkey.call("FLUSHALL")
        assert await counts.count([usage(2, 1000, 3_000_000)]) == [3_001_000]


async def test_each_subject_is_counted_on_its_valkey_however_many_there_are(valkey: ValkeyProcess) -> None:
    with ValkeyProcess() as other:
        async with counting(valkey, other) as (counts, _):
            many = [usage(number, 10**6) for number in range(2 * USAGES_TOGETHER + 3)]
            assert await counts.count(many) == [10**6] * len(many)
            assert len(valkey.call("KEYS", "chat:limit:*")) == USAGES_TOGETHER + 2
            assert valkey.call("EXISTS", "chat:limit:messages:2") == other.call("EXISTS", "chat:limit:messages:1") == 1
            other.kill()
            await until(lambda: not counts.is_counting())
            answers = await counts.count([usage(1, 10), usage(2, 10), usage(3, 10)])
            assert [answer is not None for answer in answers] == [False, True, False]


async def test_what_valkey_refuses_is_not_counted_and_the_bus_goes_on(valkey: ValkeyProcess) -> None:
    valkey.call("ACL", "SETUSER", "default", "-pttl")
    async with counting(valkey) as (counts, [node]):
        assert await counts.count([usage(1, 10)]) == [None]
        assert (counts.is_counting(), node.is_healthy()) == (False, True)
        valkey.call("ACL", "SETUSER", "default", "+pttl", "-set")
        assert await counts.count([usage(1, 10)]) == [None]
        valkey.call("ACL", "SETUSER", "default", "+set")
        valkey.call("CONFIG", "SET", "maxmemory", "1")
        assert await counts.count([usage(1, 10)]) == [None]
        valkey.call("CONFIG", "SET", "maxmemory", "0")
        assert await counts.count([usage(1, 10**6)]) == [10**6]
        assert counts.is_counting()


# --- servers


@pytest.fixture
def servers(read_dsn: Callable[[], str], valkey: ValkeyProcess) -> Iterator[list[ServerProcess]]:
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                ServerProcess(
                    read_dsn(),
                    f"server-{number}",
                    CHAT_MESSAGES_PER_USER_PER_MINUTE=LIMIT,
                    CHAT_REQUESTS_PER_DEVICE_PER_MINUTE=LIMIT,
                    CHAT_REQUESTS_PER_ADDRESS_PER_MINUTE=LIMIT,
                    **bus_environment([valkey]),
                )
            )
            for number in range(2)
        ]
        for server in started:
            server.wait_ready()
        yield started


async def until_shared(servers: Sequence[ServerProcess], value: int) -> None:
    await until(lambda: all(server.metric("chatserver_limits_shared") == value for server in servers))


def sender(socket: Socket, to: str) -> Callable[[], Awaitable[bool]]:
    """Return what sends a message, and returns whether it was accepted."""

    async def send() -> bool:
        answer = await socket.message("hello", to=to)
        assert answer["type"] == "ack" or answer["code"] == "rate_limited"
        return bool(answer["type"] == "ack")

    return send


async def granted(calls: Sequence[Callable[[], Awaitable[bool]]]) -> tuple[int, float]:
    """Call in turns until all are rejected; returns how many were not, and how many came back meanwhile."""
    count, began = 0, time.monotonic()
    rejected: set[int] = set()
    while len(rejected) < len(calls):
        for number, call in enumerate(calls):
            if await call():
                count += 1
                rejected.discard(number)
            else:
                rejected.add(number)
    return count, (time.monotonic() - began) * LIMIT / 60


async def test_a_user_of_two_servers_sends_in_sum_what_one_gives(servers: list[ServerProcess]) -> None:
    phone = await sign_in(servers[0], "ana")
    laptop = await sign_in(servers[1], phone_number=phone.phone_number)
    await sign_in(servers[0], "ben")
    await until_shared(servers, 1)
    async with phone.socket(servers[0]) as one, laptop.socket(servers[1]) as two:
        count, refilled = await granted([sender(one, "ben"), sender(two, "ben")])
        tell(
            f"a limit of {LIMIT} by two servers: {count} messages granted, of which {refilled:.1f} came back meanwhile"
        )
        assert LIMIT - 3 <= count <= LIMIT + refilled + SLACK
    # Others have all of theirs.
    carl = await sign_in(servers[1], "carl")
    async with carl.socket(servers[0]) as socket:
        assert await sender(socket, "ana")()


async def test_a_device_and_an_address_call_two_servers_as_often_as_one(
    servers: list[ServerProcess], valkey: ValkeyProcess
) -> None:
    device = await sign_in(servers[0], "ana")
    await until_shared(servers, 1)
    addresses = (f"198.51.100.{number % 250}" for number in range(10**6))
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False))
            for server in servers
        ]

        def by_device(http: httpx.AsyncClient) -> Callable[[], Awaitable[bool]]:
            async def call() -> bool:
                headers = {**device.headers, "X-Forwarded-For": next(addresses)}
                return (await http.get("/api/users/me", headers=headers)).status_code == httpx.codes.OK

            return call

        def by_address(http: httpx.AsyncClient) -> Callable[[], Awaitable[bool]]:
            async def call() -> bool:
                answer = await http.get("/api/users/me", headers={"X-Forwarded-For": "192.0.2.77"})
                return answer.status_code == httpx.codes.UNAUTHORIZED

            return call

        for kind in (by_device, by_address):
            count, refilled = await granted([kind(http) for http in clients])
            tell(
                f"a limit of {LIMIT} by two servers: {count} calls granted {kind.__name__}, {refilled:.1f} of them new"
            )
            assert LIMIT - 3 <= count <= LIMIT + refilled + SLACK
    keys = valkey.call("KEYS", "chat:limit:*")
    assert any(re.fullmatch(r"chat:limit:address:[0-9a-f]{16}", key) for key in keys)
    assert not any("192.0.2" in key or "198.51" in key for key in keys)
    assert not any("192.0.2.77" in server.log_text() for server in servers)


async def test_without_valkey_each_server_has_its_own_limit_and_afterwards_they_share_again(
    servers: list[ServerProcess], valkey: ValkeyProcess
) -> None:
    ana, ben = await sign_in(servers[0], "ana"), await sign_in(servers[0], "ben")
    anas, bens = [await sign_in(servers[1], phone_number=each.phone_number) for each in (ana, ben)]
    await until_shared(servers, 1)

    async with ana.socket(servers[0]) as one, anas.socket(servers[1]) as two:
        first = sender(one, "ben")
        for _ in range(LIMIT // 2):
            assert await first()
        valkey.kill()
        await until_shared(servers, 0)
        # None of them was rejected for a Valkey that does not answer.
        for _ in range(LIMIT // 2 - 3):
            assert await first()
        second = sender(two, "ben")
        for _ in range(LIMIT - 3):
            assert await second()
        # Until each rejects them.
        await granted([first, second])
    valkey.start()
    await until_shared(servers, 1)
    async with ben.socket(servers[0]) as one, bens.socket(servers[1]) as two:
        count, refilled = await granted([sender(one, "ana"), sender(two, "ana")])
        assert LIMIT - 3 <= count <= LIMIT + refilled + SLACK


@pytest.mark.soak
async def test_a_valkey_that_refuses_to_count_is_a_ticket_until_it_counts(
    read_dsn: Callable[[], str], valkey: ValkeyProcess, tmp_path: Path
) -> None:
    rights = [right for right in RIGHTS.split() if right not in {"+pttl", "+set"}]
    valkey.call("ACL", "SETUSER", "server", "on", ">secret", "~chat:*", "&chat:*", *rights)
    (tmp_path / "password").write_text("secret")
    login = {"CHAT_BUS_USERNAME": "server", "CHAT_BUS_PASSWORD_FILE": str(tmp_path / "password")}
    limit = {"CHAT_REQUESTS_PER_DEVICE_PER_MINUTE": 600}
    with (
        ServerProcess(read_dsn(), "server-0", **bus_environment([valkey]), **login, **limit) as server,
        Prometheus(rules={"rules.yaml": rule_file(scale=RULES_SCALE)}) as prometheus,
    ):
        server.wait_ready()
        prometheus.scrape(target(server.metrics_url, "chatserver"))
        ana = await sign_in(server, "ana")
        async with ana.http(server) as http:

            async def is_firing(*, expected: bool) -> bool:
                assert (await http.get("/api/chats")).is_success, "nobody is rejected because of it"
                firing = {labels["alertname"] for labels in await asyncio.to_thread(prometheus.firing)}
                return (ALERT in firing) == expected

            await seen(lambda: is_firing(expected=True), f"{ALERT} fires", WAIT_SECONDS)
            assert "limits_refused" in server.log_text()
            valkey.call("ACL", "SETUSER", "server", "+pttl", "+set")
            await seen(lambda: is_firing(expected=False), f"{ALERT} is resolved", WAIT_SECONDS)
