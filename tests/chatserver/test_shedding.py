"""Shedding: whoever has more than a share asks some to leave, never too many, never without reason."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chatserver.fleet.shedding import IDLE, LEAST_CONNECTIONS, Load, Shedding, decide

ACTIVE = Shedding(active=True)


@pytest.mark.parametrize(
    ("connections", "leaving", "others", "before", "ask", "active"),
    [
        pytest.param(15_000, 0, [15_000, 20], IDLE, 150, True, id="a third server came to two full ones"),
        pytest.param(12_500, 0, [12_500, 5_000], IDLE, 0, False, id="exactly 1.25 x the mean is not above it"),
        pytest.param(12_501, 0, [12_499, 5_000], IDLE, 125, True, id="one more is"),
        pytest.param(12_500, 0, [12_500, 5_000], ACTIVE, 125, True, id="who has begun goes on below 1.25"),
        pytest.param(10_500, 0, [10_500, 9_000], ACTIVE, 0, False, id="until 1.05 x the mean"),
        pytest.param(10_510, 500, [10_500, 8_990], ACTIVE, 0, False, id="those on their way count as gone"),
        pytest.param(13_000, 2_450, [9_000, 8_000], ACTIVE, 50, True, id="and the last step is as long as is missing"),
        pytest.param(600, 0, [200, 100, 900], IDLE, 6, True, id="also while another has still more"),
        pytest.param(10_000, 0, [0], IDLE, 1, True, id="somebody with nobody is tried first"),
        pytest.param(10_000, 0, [1], IDLE, 100, True, id="and then used"),
        pytest.param(49, 0, [1, 1], IDLE, 0, False, id="49 are too few to bother"),
        pytest.param(50, 0, [1, 1], IDLE, 0, True, id="of 50, one every two seconds"),
        pytest.param(50, 0, [1, 1], Shedding(active=True, carried=0.5), 1, True, id="here is the second"),
        pytest.param(10_000, 0, [], IDLE, 0, False, id="alone"),
        pytest.param(10_000, 0, [], ACTIVE, 0, False, id="alone again"),
    ],
)
def test_who_is_asked(
    connections: int, leaving: int, others: list[int], before: Shedding, ask: int, *, active: bool
) -> None:
    found = decide(Load(connections, leaving, others, is_current=True), before, 1)
    assert (found.count, found.active) == (ask, active)


def test_what_was_heard_too_long_ago_decides_nothing() -> None:
    assert decide(Load(10_000, 0, [10], is_current=False), ACTIVE, 1) == IDLE


counts = st.integers(0, 20_000)
loads = st.builds(
    Load,
    connections=counts,
    leaving=st.integers(0, 500),
    others=st.lists(counts, max_size=12),
    is_current=st.booleans(),
)
befores = st.builds(
    Shedding, count=st.integers(0, 200), active=st.booleans(), carried=st.floats(0, 1, exclude_max=True)
)
percents = st.floats(0.1, 100)


@given(loads, befores, percents)
def test_never_below_the_mean_nor_beyond_the_allowance(load: Load, before: Shedding, percent: float) -> None:
    load = Load(load.connections, min(load.leaving, load.connections), load.others, load.is_current)
    found = decide(load, before, percent)
    assert 0 <= found.count <= before.carried + load.connections * percent / 100
    assert 0 <= found.carried < 1
    if found.count:
        mean = (load.connections + sum(load.others)) / (len(load.others) + 1)
        assert load.connections - load.leaving - found.count >= mean


@given(loads, befores, percents)
def test_never_alone_nor_on_stale_data_nor_when_small(load: Load, before: Shedding, percent: float) -> None:
    assume(not load.others or not load.is_current or load.connections < LEAST_CONNECTIONS)
    assert decide(load, before, percent) == IDLE


@given(st.lists(st.integers(9_000, 11_000), min_size=1, max_size=12), percents)
def test_balanced_servers_never_begin(others: list[int], percent: float) -> None:
    assert decide(Load(10_000, 0, others, is_current=True), IDLE, percent) == IDLE


@settings(max_examples=30)
@given(st.lists(st.integers(0, 15_000), min_size=2, max_size=8), st.integers(1, 6), st.randoms(use_true_random=False))
def test_load_spreads_and_rests_whatever_the_start(counts: list[int], beat_ticks: int, chance: object) -> None:
    """All servers shed, those who leave land where there are fewest, and what is known is as old as a heartbeat."""
    servers, total = list(counts), sum(counts)
    told = list(counts)
    decisions = [IDLE] * len(servers)
    asked: list[list[int]] = [[] for _ in servers]
    for tick in range(900):
        for place, count in enumerate(servers):
            others = told[:place] + told[place + 1 :]
            decisions[place] = decide(Load(count, 0, others, is_current=True), decisions[place], 1)
            asked[place].append(decisions[place].count)
            # As the proxies do: least connections.
            for _ in range(decisions[place].count):
                servers[place] -= 1
                servers[servers.index(min(servers))] += 1
        if tick % beat_ticks == chance.randrange(beat_ticks):  # type: ignore[attr-defined]
            told = list(servers)
        if tick > 600 and not any(decision.active for decision in decisions):
            break
    told = list(servers)
    assert sum(servers) == total
    mean = total / len(servers)
    settled = [
        decide(Load(count, 0, told[:n] + told[n + 1 :], is_current=True), IDLE, 1) for n, count in enumerate(told)
    ]
    assert not any(decision.count for decision in settled), (counts, servers)
    assert max(servers) <= max(1.25 * mean, LEAST_CONNECTIONS)
