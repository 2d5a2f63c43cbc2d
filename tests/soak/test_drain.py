"""Thousands of sockets leave one of two servers within drainSeconds, spread, and lose nothing.

The smoke version has hundreds, and runs with the integration tests; the soak, run by `make soak`, has 5,000.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.storage.database import Database
from tests.support.crowd import Crowd
from tests.support.findings import tell
from tests.support.flock import Flock, LeastConnections, fill_devices, histogram
from tests.support.plainhttp import NO_TLS
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate
from tests.support.valkey import BUSES, bus_environment, running_bus

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 240.0
"""Longest wait for all sockets on a loaded machine."""

GRACE_SECONDS = 15.0
"""What the pod has beyond drainSeconds before it is killed (terminationGracePeriodSeconds)."""

SLICES = 10
SPARE_FILES = 500
"""Of this process, beside a descriptor a socket."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a drain.

    Attributes:
        sockets: on the server that leaves.
        polls: long polls there.
        talkers: people of the ledger.
    """

    sockets: int
    polls: int
    talkers: int
    drain_seconds: int
    notice_seconds: float


@pytest.fixture
def dsn() -> Iterator[str]:
    with PostgresCluster() as postgres:
        dsn = postgres.dsn(postgres.create_database())
        migrate(dsn)
        yield dsn


@pytest.fixture(params=BUSES)
def bus(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings of the servers' bus."""
    with running_bus(request.param) as valkeys:
        yield bus_environment(valkeys)


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(Scale(200, 5, 4, 8, 1.0), id="smoke", marks=pytest.mark.integration),
        pytest.param(Scale(5000, 50, 8, 20, 5.0), id="soak", marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
async def test_all_sockets_leave_a_draining_server_in_time_spread_and_lose_nothing(
    dsn: str, bus: dict[str, str], scale: Scale
) -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert files >= scale.sockets + SPARE_FILES, "raise the limit of open files (ulimit -n)"
    database = await Database(lambda: dsn, server_name="test").open()
    tokens = await fill_devices(database, scale.sockets)
    await database.close()
    proxy = LeastConnections()
    with ExitStack() as stack:

        async def start(name: str) -> ServerProcess:
            server = ServerProcess(
                dsn,
                name,
                CHAT_DRAIN_SECONDS=scale.drain_seconds,
                CHAT_READINESS_NOTICE_SECONDS=scale.notice_seconds,
                # Who leaves here leaves because of the drain.
                CHAT_SHED_PERCENT_PER_SECOND=0,
                **bus,
            )
            await asyncio.to_thread(stack.enter_context, server)
            return server

        leaving = await start("leaving")
        await proxy.add(leaving)
        async with Flock(proxy, tokens) as flock:
            await flock.all_connected(CONNECT_SECONDS)
            staying = await start("staying")
            await proxy.add(staying)
            chance = random.Random(scale.sockets)  # noqa: S311 - which server is met is no secret
            # A talker meets either by chance, as long as both are there.
            urls = [leaving.url, staying.url]
            async with Crowd(urls, size=scale.talkers, messages_per_second=2, chance=chance) as crowd:
                polls = [asyncio.create_task(_poll(leaving, token)) for token in tokens[: scale.polls]]
                began = time.monotonic()
                leaving.terminate()
                exit_code = await asyncio.to_thread(leaving.wait, scale.drain_seconds + GRACE_SECONDS)
                took_seconds = time.monotonic() - began
                urls.remove(leaving.url)
                await flock.all_connected(CONNECT_SECONDS)
                answers = await asyncio.gather(*polls)
                account = await crowd.finish()
            _tell(flock, began, took_seconds, scale)
            cpu_seconds = staying.metric("process_cpu_seconds_total")
            tell(f"CPU: the server that stayed {cpu_seconds:.1f} s, this test {time.process_time():.1f} s")
            tell(account)
            assert exit_code == 0
            assert answers == [[]] * scale.polls
            _check_stays(flock, scale)
            assert int(staying.metric("chatserver_connections")) >= scale.sockets
    await proxy.close()
    assert account.clean, account
    assert account.refused == 0


async def _poll(server: ServerProcess, token: str) -> object:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=90, verify=NO_TLS, trust_env=False
    ) as http:
        answer = await http.get("/api/messages", params={"wait": 60})
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()


def _check_stays(flock: Flock, scale: Scale) -> None:
    """Everybody was there once, was asked once, each to leave in another slice of the window, and did."""
    assert sorted(stay.device for stay in flock.stays) == list(range(scale.sockets))
    assert {stay.server for stay in flock.stays} == {"leaving"}
    assert all(len(stay.asked) == 1 for stay in flock.stays)
    assert {stay.code for stay in flock.stays} <= {1000, 1012}
    window_ms = (scale.drain_seconds - min(5.0, scale.drain_seconds / 2) - scale.notice_seconds) * 1000
    asked = Counter(int(stay.asked[0] * SLICES // window_ms) for stay in flock.stays)
    share = scale.sockets / SLICES
    # Talkers had slices, too, and the window is shorter by what the server took to begin.
    assert all(0.8 * share <= asked[place] <= 1.2 * share for place in range(SLICES)), asked


def _tell(flock: Flock, began: float, took_seconds: float, scale: Scale) -> None:
    back = [arrival.at - began for arrival in flock.arrivals if arrival.server == "staying"]
    away: dict[int, float] = {stay.device: stay.ended_at for stay in flock.stays}
    gaps = sorted(a.at - away[a.device] for a in flock.arrivals if a.server == "staying" and a.device in away)
    codes = Counter((stay.code, "by the server" if stay.by_server else "by the client") for stay in flock.stays)
    tell(
        f"drain of {scale.sockets} sockets in {scale.drain_seconds} s ({scale.notice_seconds:.0f} s of it notice): the "
        f"process ended after {took_seconds:.1f} s; all were back after {max(back):.1f} s; between two connections "
        f"median {gaps[len(gaps) // 2] * 1000:.0f} ms, 99 % {gaps[len(gaps) * 99 // 100] * 1000:.0f} ms, most "
        f"{gaps[-1] * 1000:.0f} ms"
    )
    tell("closes: " + ", ".join(f"{code} {who}: {count}" for (code, who), count in sorted(codes.items())))
    tell(f"connects that failed: {dict(flock.refused) or 'none'}")
    tell("when they were back, seconds after SIGTERM:\n" + histogram(back))
