"""Rate limits: a minute's worth at once, evenly refilled, in bounded memory, with the time as an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.errors import RateLimited
from chatserver.limits.rates import MINUTE_SECONDS, ROW_BYTES, Limits, TokenBuckets, group_changes, stored_bytes


def taken(buckets: TokenBuckets, key: str, times: list[float]) -> int:
    return sum(buckets.take(key, now) == 0 for now in times)


@pytest.mark.parametrize("per_minute", [1, 2, 7, 59, 600, 1200])
def test_a_full_bucket_holds_exactly_a_minutes_tokens(per_minute: int) -> None:
    for start in (0.0, 0.1, 12_345.678, 1e7 + 1 / 3):
        assert taken(TokenBuckets(per_minute), "ana", [start] * (per_minute + 5)) == per_minute


def test_tokens_come_back_evenly_and_the_wait_is_the_time_until_the_next() -> None:
    buckets = TokenBuckets(60)
    assert taken(buckets, "ana", [0.0] * 60) == 60
    wait_seconds = buckets.take("ana", 0.25)
    assert wait_seconds == pytest.approx(0.75)
    # A refusal takes nothing: trying in vain does not put the next token off.
    assert taken(buckets, "ana", [0.5] * 100) == 0
    assert buckets.take("ana", 0.25 + wait_seconds) == 0
    assert taken(buckets, "ana", [61.0] * 100) == 60


def test_one_key_never_pays_for_another() -> None:
    buckets = TokenBuckets(2)
    assert taken(buckets, "ana", [0.0] * 5) == 2
    assert taken(buckets, "ben", [0.0] * 5) == 2


def test_zero_is_no_limit_and_remembers_nobody() -> None:
    buckets = TokenBuckets(0)
    assert taken(buckets, "ana", [0.0] * 1000) == 1000
    assert len(buckets) == 0


def test_memory_is_bounded_and_the_longest_idle_are_forgotten_first() -> None:
    buckets = TokenBuckets(1, keys_max=3)
    for number, key in enumerate(("ana", "ben", "eve", "dan")):
        assert buckets.take(key, float(number)) == 0
    assert len(buckets) == 3
    # Those that were used last are still known.
    assert [buckets.take(key, 4.0) > 0 for key in ("ben", "eve", "dan")] == [True] * 3
    assert buckets.take("ana", 4.0) == 0
    for number in range(1000):
        buckets.take(f"new{number}", 5.0)
    assert len(buckets) == 3


@given(
    per_minute=st.integers(1, 30),
    steps=st.lists(st.floats(0, 90, allow_nan=False), max_size=120),
)
def test_no_minute_gives_more_than_a_full_bucket_and_its_refill(per_minute: int, steps: list[float]) -> None:
    buckets = TokenBuckets(per_minute)
    now, granted = 1000.0, []
    for step in steps:
        now += step
        wait_seconds = buckets.take("ana", now)
        assert 0 <= wait_seconds <= MINUTE_SECONDS / per_minute + 1e-3
        if wait_seconds == 0:
            granted.append(now)
    for start in granted:
        within = [at for at in granted if start <= at < start + MINUTE_SECONDS]
        assert len(within) <= 2 * per_minute + 1
    # Whoever keeps to the rate is never refused.
    steady = TokenBuckets(per_minute)
    assert taken(steady, "ben", [number * MINUTE_SECONDS / per_minute for number in range(100)]) == 100


def test_each_kind_of_limit_has_its_own_budget_and_says_when_to_come_back() -> None:
    refused: list[str] = []
    limits = Limits(
        messages_per_user_per_minute=2,
        stored_bytes_per_user_per_hour=0,
        requests_per_device_per_minute=3,
        requests_per_address_per_minute=1,
        on_refused=refused.append,
    )
    for _ in range(2):
        limits.check_change(1, 0.0, 0)
    with pytest.raises(RateLimited) as caught:
        limits.check_change(1, 0.0, 0)
    assert caught.value.retry_after_seconds == 30
    limits.check_change(2, 0.0, 0)
    # A device with the user's number is somebody else's.
    for _ in range(3):
        limits.check_request(1, 0.0)
    with pytest.raises(RateLimited):
        limits.check_request(1, 0.0)
    limits.check_address("2001:db8::1", 0.0)
    with pytest.raises(RateLimited):
        limits.check_address("2001:db8::2", 0.0)
    limits.check_address("2001:db8:0:1::1", 0.0)
    assert refused == ["messages", "device", "address"]


def test_bytes_are_counted_by_the_hour_and_a_change_that_is_too_large_for_a_bucket_takes_it_whole() -> None:
    buckets = TokenBuckets(1000, period_seconds=3600)
    assert buckets.take("ana", 0.0, 600) == 0
    assert buckets.take("ana", 0.0, 600) == pytest.approx(720)
    assert buckets.take("ana", 0.0, 400) == 0
    assert buckets.take("ben", 0.0, 10**9) == 0
    assert buckets.take("ben", 0.0, 1) == pytest.approx(3.6)
    assert buckets.take("ben", 3600.0, 1000) == 0


def test_texts_count_as_they_are_stored() -> None:
    assert stored_bytes() == ROW_BYTES
    assert stored_bytes("a" * 100, None, "é", "\U0001f44d", rows=3) == 3 * ROW_BYTES + 100 + 2 + 4
    assert group_changes(0) == 1
    assert group_changes(1024) == 129


def test_an_hour_of_the_largest_messages_stays_below_what_the_quota_says() -> None:
    limits = Limits(
        messages_per_user_per_minute=600,
        stored_bytes_per_user_per_hour=20 * 2**20,
        requests_per_device_per_minute=0,
        requests_per_address_per_minute=0,
        on_refused=lambda _: None,
    )
    size = stored_bytes("\U0001f44d" * 65_536)
    stored = 0
    for second in range(3600):
        try:
            limits.check_change(1, float(second), size)
        except RateLimited:
            continue
        stored += size
    # What is there at once, and what comes back within the hour.
    assert stored <= 2 * 20 * 2**20
