"""How many chatservers: tables of the formula, and properties that must hold for any readings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatoperator.autoscaler import Memory, Policy, Server, decide, start, victims

POLICY = Policy(target=10_000, min_replicas=1, max_replicas=100, stabilization_seconds=0)


def servers(*connections: int | None) -> list[Server]:
    return [
        Server(name=f"server-{number}", started=True, terminating=False, connections=count)
        for number, count in enumerate(connections)
    ]


@pytest.mark.parametrize(
    ("connections", "current", "want"),
    [
        # 25,000 connections at a target of 10,000 -> 3 servers, whatever their spread.
        ((25_000, 0), 2, 3),
        ((12_500, 12_500), 2, 3),
        ((1, 24_999), 2, 3),
        ((10_000, 10_000), 2, 2),
        ((10_000, 10_001), 2, 3),
        # Down only where the rest is at most 90 % full.
        ((9_001, 9_001, 0), 3, 3),
        ((9_000, 9_000, 0), 3, 2),
        ((0, 0), 2, 1),
        ((0,), 1, 1),
    ],
)
def test_number_of_servers_follows_total_connections(connections: tuple[int, ...], current: int, want: int) -> None:
    decision = decide(servers(*connections), current, POLICY, start(current, 0), now=100, settled=True)
    assert decision.replicas == want
    assert decision.active


def test_a_missing_reading_counts_as_nothing_up_and_as_full_down() -> None:
    down = decide(servers(5_000, 5_000, 5_000, None), 4, POLICY, Memory(), now=100, settled=True)
    # (15,000 + 10,000) / 9,000 = 2.8
    assert down.replicas == 3
    up = decide(servers(20_000, 15_000, 10_000, None), 4, POLICY, Memory(), now=100, settled=True)
    assert up.replicas == 5


@pytest.mark.parametrize("connections", [(None, None), (0, None), (0, 0, None, None), (None,)])
def test_failed_scrapes_never_scale_down(connections: tuple[int | None, ...]) -> None:
    current = len(connections)
    decision = decide(servers(*connections), current, POLICY, Memory(), now=100, settled=True)
    assert decision.replicas == current
    assert not decision.active


def test_clients_of_leaving_servers_are_expected_back() -> None:
    leaving = Server(name="leaving", started=True, terminating=True, connections=15_000)
    decision = decide([*servers(9_000), leaving], 1, POLICY, Memory(), now=100, settled=False)
    assert decision.replicas == 3


def test_starting_servers_are_not_missing() -> None:
    starting = [Server(name=f"new-{n}", started=False, terminating=False, connections=None) for n in range(5)]
    decision = decide([*servers(1_000), *starting], 6, POLICY, Memory(), now=100, settled=False)
    assert decision.active
    assert decision.replicas == 6


def test_bounds_are_kept_and_told() -> None:
    bounded = Policy(target=10, min_replicas=2, max_replicas=3, stabilization_seconds=0)
    high = decide(servers(1_000, 0), 2, bounded, Memory(), now=0, settled=True)
    assert (high.replicas, high.limited) == (3, True)
    low = decide(servers(0, 0), 2, bounded, Memory(), now=0, settled=True)
    assert (low.replicas, low.limited) == (2, True)


@pytest.mark.parametrize(("current", "first"), [(1, 5), (2, 6), (4, 8), (10, 20)])
def test_up_at_once_but_at_most_four_more_or_twice_as_many_a_tick(current: int, first: int) -> None:
    crowd = servers(*([10_000_000] + [0] * (current - 1)))
    assert decide(crowd, current, POLICY, Memory(), now=0, settled=True).replicas == first


def test_down_waits_for_the_highest_wish_of_the_window() -> None:
    policy = Policy(target=10, min_replicas=1, max_replicas=10, stabilization_seconds=300)
    memory = start(3, 0)
    for now in range(15, 300, 15):
        decision = decide(servers(1, 1, 1), 3, policy, memory, now=now, settled=True)
        assert decision.replicas == 3
        memory = decision.memory
    assert decide(servers(1, 1, 1), 3, policy, memory, now=301, settled=True).replicas == 2


def test_down_waits_for_the_window_after_a_scale_up() -> None:
    policy = Policy(target=10, min_replicas=1, max_replicas=10, stabilization_seconds=60)
    memory = decide(servers(25), 1, policy, Memory(), now=0, settled=True).memory
    assert decide(servers(1, 1, 1), 3, policy, memory, now=59, settled=True).replicas == 3
    assert decide(servers(1, 1, 1), 3, policy, memory, now=61, settled=True).replicas == 2


def test_down_one_a_minute_or_a_tenth_of_the_servers() -> None:
    first = decide(servers(*[0] * 5), 5, POLICY, Memory(), now=0, settled=True)
    assert first.replicas == 4
    second = decide(servers(*[0] * 4), 4, POLICY, first.memory, now=15, settled=True)
    assert second.replicas == 4
    third = decide(servers(*[0] * 4), 4, POLICY, second.memory, now=61, settled=True)
    assert third.replicas == 3
    assert decide(servers(*[0] * 40), 40, POLICY, Memory(), now=0, settled=True).replicas == 36


def test_down_never_during_a_rollout_or_a_drain() -> None:
    assert decide(servers(0, 0), 2, POLICY, Memory(), now=100, settled=False).replicas == 2


@given(total=st.integers(1, 1_000_000), swings=st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=40))
def test_a_total_within_five_percent_never_flaps(total: int, swings: list[float]) -> None:
    """Once the number fits the largest swing, it neither rises nor falls."""
    policy = Policy(target=1_000, min_replicas=1, max_replicas=10_000, stabilization_seconds=0)
    current = -(-int(total * 1.05 + 1) // 1_000)
    memory = Memory()
    for step, swing in enumerate(swings):
        decision = decide(servers(int(total * (1 + swing))), current, policy, memory, now=step * 120, settled=True)
        assert decision.replicas in {current, current - 1}
        # One server may be spare after rounding up; after it went, nothing moves any more.
        current, memory = decision.replicas, decision.memory
        assert current * 1_000 >= total * (1 + swing) - 1


@given(
    connections=st.lists(st.one_of(st.none(), st.integers(0, 50_000)), max_size=30),
    current=st.integers(1, 50),
    low=st.integers(1, 50),
    extra=st.integers(0, 50),
)
def test_the_number_is_always_within_bounds_unless_it_has_to_step(
    connections: list[int | None], current: int, low: int, extra: int
) -> None:
    policy = Policy(target=10_000, min_replicas=low, max_replicas=low + extra, stabilization_seconds=0)
    replicas = decide(servers(*connections), current, policy, Memory(), now=0, settled=True).replicas
    assert replicas >= 1
    if low <= current <= low + extra:
        assert low <= replicas <= low + extra


def test_victims_have_the_fewest_connections_and_unread_ones_come_last() -> None:
    assert victims({"a": 5, "b": 1, "c": None, "d": 3}, 2) == ("b", "d")
    assert victims({"a": 5, "c": None}, 2) == ("a", "c")
    assert victims({"a": 5}, 0) == ()
