"""What the metrics say of how long people wait is what they waited, whatever makes them wait."""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from typing import TYPE_CHECKING

import asyncpg
import httpx
import pytest

from chatserver.messaging.write_times import SLOW_SECONDS
from tests.integration.test_edge_faults import FLOODS, eventually, flood
from tests.support.devices import sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.devices import Frame
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

HELD_SECONDS = 0.3
"""For which a test holds a lock that a send waits for: less than a statement waits for one."""


@pytest.fixture
def one(read_dsn: Callable[[], str]) -> Iterator[ServerProcess]:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        yield server


async def test_a_send_that_waits_for_a_lock_is_slow_and_its_delivery_is_not(one: ServerProcess) -> None:
    ana, bob = await sign_in(one, "ana"), await sign_in(one, "bob")
    holder = await asyncpg.connect(one.dsn)
    try:
        async with ana.socket(one) as a, bob.socket(one) as b:
            chat_id = (await a.message("before", to="bob"))["chat_id"]
            await b.text("before")
            await eventually(lambda: pushed(one) == 1)
            sent_before = one.metric('chatserver_send_seconds_sum{result="ok"}')
            pushed_before = one.metric("chatserver_push_seconds_sum")
            lock = holder.transaction()
            await lock.start()
            await holder.execute("SELECT FROM chats WHERE chat_id = $1 FOR UPDATE", chat_id)
            sending = asyncio.create_task(a.message("late", chat_id=chat_id))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not await holder.fetchval(waiting):
                assert not sending.done()
            seen_at = time.monotonic()
            await asyncio.sleep(HELD_SECONDS)
            held_seconds, released_at = time.monotonic() - seen_at, time.monotonic()
            await lock.rollback()
            assert (await sending)["type"] == "ack"
            await b.text("late")
            received_at = time.monotonic()
            await eventually(lambda: pushed(one) == 2)
            assert one.metric('chatserver_send_seconds_count{result="ok"}') == 2
            assert one.metric('chatserver_send_seconds_sum{result="ok"}') - sent_before >= held_seconds
            # Nothing was committed before the lock was released.
            assert one.metric("chatserver_push_seconds_sum") - pushed_before <= received_at - released_at
    finally:
        await holder.close()


def pushed(server: ServerProcess) -> float:
    return server.metric("chatserver_push_seconds_count")


async def test_frames_that_a_reader_does_not_take_are_not_counted_as_pushed(one: ServerProcess) -> None:
    ana, bob, eve = [await sign_in(one, name) for name in ("ana", "bob", "eve")]
    async with ana.http(one) as http:
        group = (await http.post("/api/groups", json={"group_name": "g", "members": ["bob", "eve"]})).json()
    async with ana.socket(one) as a, bob.socket(one) as quick, eve.socket(one, max_queue=1):
        for number in range(FLOODS):
            await flood(a, group["chat_id"])
            await a.message(f"end {number}", chat_id=group["chat_id"])
            await quick.text(f"end {number}")
        sent = one.metric('chatserver_messages_total{result="stored"}')
        assert one.metric("chatserver_delivery_seconds_count") >= sent
        assert sent <= pushed(one) < 2 * sent, "a frame that was never written was counted"


async def test_each_recipient_of_another_server_is_counted_by_the_clock_of_the_database(
    one: ServerProcess, read_dsn: Callable[[], str]
) -> None:
    with ServerProcess(read_dsn(), "two") as two:
        two.wait_ready()
        ana, bob = await sign_in(one, "ana"), await sign_in(one, "bob")
        tablet = await sign_in(one, phone_number=bob.phone_number)
        async with ana.socket(one) as a, bob.socket(two) as b, tablet.socket(two) as again:
            begun_at = time.monotonic()
            await a.message("hello", to="bob")
            for socket in (b, again):
                await socket.text("hello")
            await eventually(lambda: pushed(two) == 2)
            # Not before: frames are timed behind their writes, which the clients may see first.
            seconds = time.monotonic() - begun_at
            # A wrong clock would be off by the age of the database, of the process or of Unix.
            assert two.metric("chatserver_push_seconds_sum") <= 2 * seconds
            assert pushed(one) == 0


async def test_each_result_of_a_send_is_timed(one: ServerProcess, read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "two", CHAT_MESSAGES_PER_USER_PER_MINUTE=1) as limited:
        limited.wait_ready()
        ana = await sign_in(one, "ana")
        async with ana.socket(one) as a, ana.http(one) as http:
            chat_id = (await a.message("one", to="ana"))["chat_id"]
            assert (await http.post("/api/messages", json={"chat_id": chat_id, "text": "two"})).is_success
            assert (await a.message("nowhere", chat_id=2**40))["type"] == "error"
            assert (await http.post("/api/messages", json={"to": "nobody", "text": "x"})).status_code == 404
            await eventually(lambda: timed(one, "rejected") == 2)
            assert timed(one, "ok") == 2
        async with ana.socket(limited) as a:
            answers = [(await a.message(str(number), chat_id=chat_id))["type"] for number in range(5)]
            rejected = answers.count("error")
            assert rejected
            await eventually(lambda: timed(limited, "limited") == rejected)


def timed(server: ServerProcess, result: str) -> float:
    return server.metric(f'chatserver_send_seconds_count{{result="{result}"}}')


async def test_a_send_of_more_than_a_second_is_logged_with_what_it_waited_for(one: ServerProcess) -> None:
    ana = await sign_in(one, "ana")
    holder = await asyncpg.connect(one.dsn)
    try:
        async with ana.socket(one) as a:
            chat_id = (await a.message("before", to="ana"))["chat_id"]
            lock = holder.transaction()
            await lock.start()
            await holder.execute("SELECT FROM chats WHERE chat_id = $1 FOR UPDATE", chat_id)
            began_at = time.monotonic()
            # It gives up on the lock after a second.
            answer = await a.message("my secret text", chat_id=chat_id)
            assert (answer["type"], answer["code"]) == ("error", "unavailable")
            most_seconds = time.monotonic() - began_at
            await eventually(lambda: timed(one, "unavailable") == 1)
        (event,) = [event for event in one.events() if event["event"] == "slow_send"]
        shares = [event[f"{share}_seconds"] for share in ("queue", "pool", "commit")]
        assert SLOW_SECONDS <= sum(shares) <= most_seconds + 0.01
        assert event["commit_seconds"] == max(shares) >= SLOW_SECONDS / 2
        assert (event["chat_id"], event["user_id"], event["client_id"]) == (chat_id, ana.user_id, answer["id"])
        assert (event["sends"], event["rows"], event["stored"]) == (1, 1, False)
        assert "my secret text" not in one.log_text()
        assert f'client_id="{answer["id"]}"' in await open_metrics(one)
        assert "client_id" not in await plain_metrics(one)
    finally:
        await holder.close()


async def open_metrics(server: ServerProcess) -> str:
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        accept = "application/openmetrics-text; version=1.0.0"
        return (await http.get(server.metrics_url, headers={"Accept": accept})).text


async def plain_metrics(server: ServerProcess) -> str:
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        return (await http.get(server.metrics_url)).text


async def test_a_lost_bus_counts_one_loss_and_the_database_stays_up(one: ServerProcess) -> None:
    await eventually(lambda: one.metric("chatserver_bus_connected") == 1)
    assert one.metric("chatserver_bus_losses_total") == 0
    holder = await asyncpg.connect(one.dsn)
    try:
        killed = await holder.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chatserver one listen'"
        )
    finally:
        await holder.close()
    assert len(killed) == 1
    await eventually(lambda: one.metric("chatserver_bus_losses_total") == 1)
    await eventually(lambda: one.metric("chatserver_bus_connected") == 1)
    assert one.metric("chatserver_bus_losses_total") == 1
    assert one.metric("chatserver_database_up") == 1


async def test_own_notifications_are_timed_from_the_commit(one: ServerProcess) -> None:
    ana = await sign_in(one, "ana")
    async with ana.socket(one) as a:
        chat_id = (await a.message("first", to="ana"))["chat_id"]
        for number in range(5):
            await a.message(str(number), chat_id=chat_id)
        stored = one.metric("chatserver_write_batch_rows_count")
        await eventually(lambda: one.metric("chatserver_bus_lag_seconds_count") == stored)


async def test_the_database_is_up_by_the_servers_own_check(postgres: PostgresCluster) -> None:
    dsn = postgres.dsn(postgres.create_database())
    # Nobody reads /readyz here, and there is no schema either.
    with ServerProcess(dsn, "one") as server:
        await eventually(lambda: server.metric("chatserver_database_up") == 1)


def answers(frame_id: str, frame: Frame) -> bool:
    return frame.get("id") == frame_id


async def test_batches_pool_and_calls_are_counted_once_for_each_batch(one: ServerProcess) -> None:
    ana = await sign_in(one, "ana")
    async with ana.socket(one) as a:
        chat_id = (await a.message("first", to="ana"))["chat_id"]
        ids = [str(uuid.uuid4()) for _ in range(50)]
        for frame_id in ids:
            await a.send(type="send", id=frame_id, text="x", chat_id=chat_id)
        for frame_id in ids:
            await a.until(functools.partial(answers, frame_id))
        rows, batches = (one.metric(f"chatserver_write_batch_rows_{part}") for part in ("sum", "count"))
        assert rows == 51
        assert 2 <= batches <= 51
        for name in ("write_batch_seconds", "write_wait_seconds"):
            assert one.metric(f"chatserver_{name}_count") == batches
        assert one.metric('chatserver_database_call_seconds_count{call="store",result="ok"}') == batches
        assert one.metric("chatserver_database_acquire_seconds_count") > batches
