"""Rate limits over several servers: never more than one server gives and what is stated, whatever happens when."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatserver.errors import RateLimited
from chatserver.limits.rates import Limits, TokenBuckets
from chatserver.limits.shared import DUE_PARTS, SharedBuckets, Taken, subject_of
from chatserver.limits.sharing import LimitSharing, Usage
from tests.support.sharedlimits import KEY, PERIOD_SECONDS, SharedCount, SharingServer

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENTS = ("take", "take", "report", "report and answer")
# The time since the step before, which server, what happens, and how many changes a user tries to make.
STEPS = st.lists(
    st.tuples(st.sampled_from((0, 0.001, 0.3, 2)), st.integers(0, 4), st.sampled_from(EVENTS), st.integers(1, 40)),
    min_size=80,
    max_size=100,
)
EXAMPLES = 20
MILLISECOND = 0.001


def most_in_a_window(servers: Sequence[SharingServer]) -> float:
    """Return by how many seconds of refill the fullest window exceeds its length."""
    granted = sorted(itertools.chain.from_iterable(server.granted for server in servers))
    most, ending_here, last_at = 0.0, 0.0, 0.0
    for at, tokens in granted:
        ending_here = max(0.0, ending_here - (at - last_at)) + tokens * PERIOD_SECONDS / servers[0].tokens
        most, last_at = max(most, ending_here), at
    return most


@settings(max_examples=EXAMPLES)
@given(tokens=st.integers(1, 60), servers=st.integers(1, 3), steps=STEPS)
def test_no_interleaving_gives_more_than_one_server_and_what_the_others_had_not_learned(
    tokens: int, servers: int, steps: list[tuple[float, int, str, int]]
) -> None:
    all_servers, count, now = [SharingServer(tokens) for _ in range(servers)], SharedCount(), 1000.0
    for step, number, event, taken in steps:
        now += step
        server = all_servers[number % servers]
        match event:
            case "take":
                for _ in range(1 + taken % 8):
                    server.take(now)
            case "report":
                server.advance(count, now)
            case _:
                for _ in range(3):
                    server.advance(count, now)
    unknown = [server.unknown_most for server in all_servers]
    excess = sum(unknown) - min(unknown) + max(server.delay_most for server in all_servers)
    assert most_in_a_window(all_servers) <= PERIOD_SECONDS + excess + MILLISECOND * (1 + len(steps))


@settings(max_examples=EXAMPLES)
@given(tokens=st.integers(1, 120), servers=st.integers(1, 5), steps=STEPS)
def test_each_further_server_gives_at_most_a_sixtieth_and_one_change_more(
    tokens: int, servers: int, steps: list[tuple[float, int, str, int]]
) -> None:
    """Where a report is answered before the next change."""
    all_servers, count, now = [SharingServer(tokens) for _ in range(servers)], SharedCount(), 1000.0
    for step, number, _, taken in steps:
        now += step
        server = all_servers[number % servers]
        for _ in range(taken):
            server.take(now)
            if server.is_due:
                server.exchange(count, now)
    each = PERIOD_SECONDS / DUE_PARTS + PERIOD_SECONDS / tokens
    assert most_in_a_window(all_servers) <= PERIOD_SECONDS + (servers - 1) * each + MILLISECOND * (1 + len(steps))


@pytest.mark.parametrize("servers", [1, 2, 16])
def test_whoever_never_waits_gets_no_more_from_many_servers_than_from_one(servers: int) -> None:
    all_servers, count = [SharingServer(600) for _ in range(servers)], SharedCount()
    for tenth in range(1200):
        for number, server in enumerate(all_servers):
            now = 1000.0 + tenth / 10 + number / 1000
            for _ in range(20):
                server.take(now)
                if server.is_due:
                    server.exchange(count, now)
            if tenth % 10 == 0:
                server.exchange(count, now)
    given_in_all = sum(len(server.granted) for server in all_servers)
    # A bucket and two minutes' refill; a sixtieth is ten messages.
    assert 1800 - 10 <= given_in_all <= 1800 + servers * 11


@settings(max_examples=EXAMPLES)
@given(tokens=st.integers(40, 600), steps=STEPS)
def test_a_user_of_one_server_is_rejected_at_most_a_sixtieth_and_one_change_early(
    tokens: int, steps: list[tuple[float, int, str, int]]
) -> None:
    server, count, now, full_at = SharingServer(tokens), SharedCount(), 1000.0, 0.0
    seconds_a_token = PERIOD_SECONDS / tokens
    early = PERIOD_SECONDS / DUE_PARTS + min(40, tokens) * seconds_a_token + MILLISECOND * len(steps)
    for step, _, event, taken in steps:
        now += step
        # As a bucket of this server alone would be.
        fuller_at = max(now, full_at) + min(taken, tokens) * seconds_a_token
        if server.take(now, taken):
            assert fuller_at - now > PERIOD_SECONDS - early
        else:
            full_at = fuller_at
        if server.is_due or event != "take":
            server.exchange(count, now)


def test_without_answers_each_server_has_its_own_limit_as_without_sharing() -> None:
    server, alone = SharingServer(60), TokenBuckets(60)
    for number in range(500):
        now = 1000.0 + number / 7
        assert server.take(now) == alone.take(KEY, now)
        server.send(now)
        server.lose()


def test_what_is_taken_while_a_report_is_under_way_is_missing_beside_what_it_says() -> None:
    one, other, count = SharingServer(60), SharingServer(60), SharedCount()
    for _ in range(30):
        one.take(1000.0)
    one.send(1000.0)
    for _ in range(20):
        other.take(1000.0)
    other.exchange(count, 1000.0)
    for _ in range(5):
        one.take(1000.0)
    one.arrive(count, 1000.0)
    one.learn()
    assert [one.take(1000.0) > 0 for _ in range(6)] == [False] * 5 + [True]


def test_what_was_lost_is_counted_again_as_far_as_a_server_knows_it() -> None:
    one, other, count = SharingServer(60), SharingServer(60), SharedCount()
    for _ in range(50):
        one.take(1000.0)
    one.exchange(count, 1000.0)
    count.flush()
    one.take(1001.0)
    one.exchange(count, 1001.0)
    other.take(1001.0)
    other.exchange(count, 1001.0)
    assert [other.take(1001.0) > 0 for _ in range(10)] == [False] * 9 + [True]


def test_what_is_taken_is_reported_once_and_what_is_due_alone_where_it_is_asked_for() -> None:
    due: list[None] = []
    buckets = SharedBuckets(600, period_seconds=60, on_due=lambda: due.append(None))
    for _ in range(12):
        buckets.take("ana", 0.0)
    buckets.take("ben", 0.0)
    assert len(due) == 1
    assert buckets.collect(0.0, due_only=True) == [Taken("ana", 1200, 0)]
    buckets.take("ana", 0.0)
    assert buckets.collect(0.0) == [Taken("ben", 100, 0), Taken("ana", 100, 1200)]
    assert buckets.collect(0.0) == []


def test_memory_is_bounded_whatever_is_reported_and_learned() -> None:
    buckets = SharedBuckets(600, period_seconds=60, on_due=lambda: None, keys_max=3)
    for key in range(10):
        assert buckets.take(key, 0.0) == 0
        buckets.learn(100 + key, 0.0, 30.0)
    assert len(buckets) == 3
    assert len(buckets.collect(0.0)) == 3


def test_an_address_is_not_in_the_name_of_its_bucket() -> None:
    number, name = subject_of("address", "192.0.2.1", b"one key")
    assert "192" not in name
    assert (number, name) == subject_of("address", "192.0.2.1", b"one key")
    others = [("address", "192.0.2.2", b"one key"), ("address", "192.0.2.1", b"x" * 100)]
    assert all(subject_of(*other)[1] != name for other in others)
    assert subject_of("device", 7, b"") == (7, "device:7")


async def check_until_rejected(limits: Limits, address: str) -> None:
    while True:
        await asyncio.sleep(0)
        limits.check_address(address, time.monotonic())


async def test_limits_are_reported_at_once_when_much_is_taken_and_learn_from_the_answer() -> None:
    reported: asyncio.Queue[Sequence[Usage]] = asyncio.Queue()
    answers: asyncio.Queue[list[int | None]] = asyncio.Queue()

    async def count(usages: Sequence[Usage]) -> list[int | None]:
        reported.put_nowait(usages)
        return await answers.get()

    sharing = LimitSharing(count, b"key")
    limits = Limits(
        messages_per_user_per_minute=60,
        stored_bytes_per_user_per_hour=0,
        requests_per_device_per_minute=0,
        requests_per_address_per_minute=60,
        on_refused=lambda _: None,
        make_buckets=sharing.make_buckets,
    )
    task = asyncio.create_task(sharing.run())
    try:
        async with asyncio.timeout(30):
            limits.check_change(1, time.monotonic(), 300)
            [usage] = await reported.get()
            assert (usage.number, usage.subject, usage.taken_ms) == (1, "messages:1", 1000)
            # Not counted: nothing is learned.
            answers.put_nowait([None])
            limits.check_address("192.0.2.1", time.monotonic())
            [usage] = await reported.get()
            assert (usage.subject.partition(":")[0], usage.taken_ms) == ("address", 1000)
            answers.put_nowait([10**9])
            limits.check_request(1, time.monotonic())
            with pytest.raises(RateLimited) as rejected:
                await check_until_rejected(limits, "192.0.2.1")
        assert (rejected.value.retry_after_seconds or 0) > 900_000
        limits.check_change(1, time.monotonic(), 300)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
