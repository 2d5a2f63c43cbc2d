"""How many chatservers: tables of the formula, and properties that must hold for any readings."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatoperator.autoscaling.autoscaler import Memory, Policy, Server, decide, is_due, start, victims

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


def test_sweeps_that_are_not_on_time_to_the_millisecond_each_bring_a_tick() -> None:
    ticked_at = None
    for sweep in (0.0, 15.03, 30.01, 45.3, 60.0):
        assert is_due(ticked_at, sweep)
        ticked_at = sweep
        assert not is_due(ticked_at, sweep + 10), "what happens between two sweeps brings none"


@pytest.mark.parametrize("connections", [(None, None), (0, None), (0, 0, None, None), (None,)])
def test_failed_scrapes_never_scale_down(connections: tuple[int | None, ...]) -> None:
    current = len(connections)
    decision = decide(servers(*connections), current, POLICY, Memory(), now=100, settled=True)
    assert decision.replicas == current
    assert not decision.active


def test_a_third_without_a_reading_is_not_blindness() -> None:
    assert decide(servers(1, 1, None), 3, POLICY, Memory(), now=100, settled=True).active
    assert not decide(servers(1, None, None, 1, 1), 5, POLICY, Memory(), now=100, settled=True).active


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
    assert (high.replicas, high.bound) == (3, "maxReplicas")
    low = decide(servers(0, 0), 2, bounded, Memory(), now=0, settled=True)
    assert (low.replicas, low.bound) == (2, "minReplicas")


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


def test_even_a_lowered_maximum_waits_for_the_window_after_a_scale_up() -> None:
    high = Policy(target=10, min_replicas=1, max_replicas=10, stabilization_seconds=60)
    low = Policy(target=10, min_replicas=1, max_replicas=2, stabilization_seconds=60)
    memory = decide(servers(50), 1, high, Memory(), now=0, settled=True).memory
    assert decide(servers(*[1] * 5), 5, low, memory, now=59, settled=True).replicas == 5
    assert decide(servers(*[1] * 5), 5, low, memory, now=61, settled=True).replicas == 4


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


def test_blindness_keeps_even_what_a_lowered_maximum_would_take() -> None:
    low = Policy(target=10, min_replicas=1, max_replicas=2, stabilization_seconds=0)
    blind = decide(servers(None, None, None, None), 4, low, Memory(), now=0, settled=True)
    assert (blind.replicas, blind.bound) == (4, None)


def test_blindness_does_not_keep_from_the_minimum() -> None:
    high = Policy(target=10, min_replicas=7, max_replicas=9, stabilization_seconds=0)
    assert decide(servers(None, None), 2, high, Memory(), now=0, settled=True).replicas == 6


def test_after_blindness_the_window_begins_anew() -> None:
    policy = Policy(target=10, min_replicas=1, max_replicas=10, stabilization_seconds=60)
    memory = decide(servers(1, 1, 1), 3, policy, Memory(), now=0, settled=True).memory
    memory = decide(servers(None, None, None), 3, policy, memory, now=120, settled=True).memory
    assert decide(servers(1, 1, 1), 3, policy, memory, now=135, settled=True).replicas == 3
    assert decide(servers(1, 1, 1), 3, policy, memory, now=181, settled=True).replicas == 2


def test_without_a_live_server_nothing_is_wished_away() -> None:
    policy = Policy(target=10, min_replicas=1, max_replicas=10, stabilization_seconds=300)
    starting = [Server(name="new", started=False, terminating=False, connections=None)]
    memory = decide(starting, 5, policy, start(5, 0), now=301, settled=False).memory
    assert max(wish for _, wish in memory.desired) == 5


@pytest.mark.parametrize("target", [1, 3, 7, 10, 1_000, 9_999, 10_000, 12_500, 999_983])
@pytest.mark.parametrize("current", [2, 3, 7, 10, 64])
def test_exact_at_the_boundaries(target: int, current: int) -> None:
    """One connection more than N targets is a server more; 90 % of N - 1 servers is exactly one less."""

    def replicas(total: int) -> int:
        return decide(
            servers(total, *[0] * (current - 1)), current, Policy(target, 1, 100, 0), Memory(), now=0, settled=True
        ).replicas

    assert replicas(current * target) == current
    assert replicas(current * target + 1) == current + 1
    most = 9 * target * (current - 1) // 10
    assert replicas(most) == current - 1
    assert replicas(most + 1) == current


COUNTS = st.lists(st.integers(0, 50_000), min_size=1, max_size=30)
READINGS = st.lists(st.one_of(st.none(), st.integers(0, 50_000)), min_size=1, max_size=30)
POLICIES = st.builds(
    lambda target, low, extra, window: Policy(target, low, low + extra, window),
    st.integers(1, 20_000), st.integers(1, 20), st.integers(0, 80), st.sampled_from([0, 60, 300]),
)  # fmt: skip
HISTORIES = st.lists(st.tuples(READINGS, st.booleans()), min_size=1, max_size=40)


@given(policy=POLICIES, readings=READINGS, current=st.integers(1, 100), settled=st.booleans())
def test_any_readings_lead_within_the_bounds_by_a_step(
    policy: Policy, readings: list[int | None], current: int, *, settled: bool
) -> None:
    replicas = decide(servers(*readings), current, policy, Memory(), now=0, settled=settled).replicas
    if policy.min_replicas <= current <= policy.max_replicas:
        assert policy.min_replicas <= replicas <= policy.max_replicas
    # From outside it never goes further out.
    assert min(current, policy.min_replicas) <= replicas <= max(current, policy.max_replicas)
    assert replicas <= max(current + 4, 2 * current)
    assert replicas >= current - max(1, current // 10)


@given(policy=POLICIES, counts=COUNTS, more=COUNTS, current=st.integers(1, 100), settled=st.booleans())
def test_more_connections_never_mean_fewer_servers(
    policy: Policy, counts: list[int], more: list[int], current: int, *, settled: bool
) -> None:
    added = [count + (more[n] if n < len(more) else 0) for n, count in enumerate(counts)]
    fewer = decide(servers(*counts), current, policy, Memory(), now=0, settled=settled).replicas
    assert decide(servers(*added), current, policy, Memory(), now=0, settled=settled).replicas >= fewer


@given(policy=POLICIES, readings=READINGS, gone=st.sets(st.integers(0, 29)), current=st.integers(1, 100))
def test_a_reading_lost_never_scales_down_further(
    policy: Policy, readings: list[int | None], gone: set[int], current: int
) -> None:
    """For servers that are not above their target: a silent one counts as full."""
    full = [None if count is None else min(count, policy.target) for count in readings]
    fewer = [None if n in gone else count for n, count in enumerate(full)]
    seen = decide(servers(*full), current, policy, Memory(), now=0, settled=True)
    less = decide(servers(*fewer), current, policy, Memory(), now=0, settled=True)
    if seen.replicas < current:
        assert less.replicas >= seen.replicas
    else:
        assert less.replicas >= min(current, seen.replicas)


@given(policy=POLICIES, readings=READINGS, starting=st.integers(0, 30), current=st.integers(1, 100))
def test_starting_servers_change_nothing(
    policy: Policy, readings: list[int | None], starting: int, current: int
) -> None:
    new = [Server(name=f"new-{n}", started=False, terminating=False, connections=None) for n in range(starting)]
    alone = decide(servers(*readings), current, policy, Memory(), now=0, settled=False)
    assert decide([*servers(*readings), *new], current, policy, Memory(), now=0, settled=False) == alone


@settings(deadline=None)
@given(policy=POLICIES, total=st.integers(0, 2_000_000), current=st.integers(1, 100))
def test_the_same_connections_lead_to_one_number_and_stay_there(policy: Policy, total: int, current: int) -> None:
    """Up in a few ticks or down in a few minutes, never both, and then for ever."""
    memory, history = start(current, 0), [current]
    for step in range(1, 160):
        decision = decide(
            servers(total, *[0] * (history[-1] - 1)), history[-1], policy, memory, now=step * 60, settled=True
        )
        memory = decision.memory
        history.append(decision.replicas)
    assert history in (sorted(history), sorted(history, reverse=True))
    assert history[-1] == history[-2]
    at_rest = decide(servers(total, *[0] * (history[-1] - 1)), history[-1], policy, Memory(), now=0, settled=True)
    assert at_rest.replicas == history[-1]


@settings(deadline=None)
@given(
    policy=POLICIES,
    total=st.integers(0, 2_000_000),
    swings=st.lists(st.integers(-50, 50), min_size=2, max_size=60),
    current=st.integers(1, 100),
)
def test_a_total_within_five_percent_never_flaps(policy: Policy, total: int, swings: list[int], current: int) -> None:
    """Whatever the order of the swings: the number goes one way only."""
    memory, history = start(current, 0), [current]
    for step, swing in enumerate(swings, start=1):
        # Rounded inwards: within +-5 % of the total.
        seen = -(-total * (1_000 + swing) // 1_000) if swing < 0 else total * (1_000 + swing) // 1_000
        decision = decide(
            servers(seen, *[0] * (history[-1] - 1)), history[-1], policy, memory, now=step * 60, settled=True
        )
        memory = decision.memory
        history.append(decision.replicas)
    assert history in (sorted(history), sorted(history, reverse=True)), history


@settings(deadline=None)
@given(policy=POLICIES, steps=HISTORIES)
@example(
    # Removed, added and removed again within a minute.
    policy=Policy(target=1, min_replicas=8, max_replicas=37, stabilization_seconds=0),
    steps=[([15], False), ([30], False), ([0], True), ([37], False), ([0], True)],
)
def test_any_history_keeps_the_limits_of_its_ticks_and_minutes(
    policy: Policy, steps: list[tuple[list[int | None], bool]]
) -> None:
    current, memory = policy.min_replicas, start(policy.min_replicas, 0)
    numbers: list[tuple[int, int]] = [(0, current)]
    last_up: int | None = None
    for tick, (readings, settled) in enumerate(steps, start=1):
        now = tick * 15
        decision = decide(servers(*readings), current, policy, memory, now=now, settled=settled)
        memory = decision.memory
        assert policy.min_replicas <= decision.replicas <= policy.max_replicas
        if decision.replicas > current:
            assert decision.replicas <= max(current + 4, 2 * current)
            last_up = now
        if decision.replicas < current:
            assert settled
            assert decision.active
            assert now >= policy.stabilization_seconds
            assert last_up is None or now - last_up >= policy.stabilization_seconds
            # What went within the last minute, this step too.
            recent = [number for at, number in numbers if at > now - 75] + [decision.replicas]
            went = sum(max(0, before - after) for before, after in itertools.pairwise(recent))
            assert went <= max(1, max(recent) // 10)
        current = decision.replicas
        numbers.append((now, current))


def test_victims_have_the_fewest_connections_and_unread_ones_come_last() -> None:
    assert victims({"a": 5, "b": 1, "c": None, "d": 3}, 2) == ("b", "d")
    assert victims({"a": 5, "c": None}, 2) == ("a", "c")
    assert victims({"a": 5}, 0) == ()
