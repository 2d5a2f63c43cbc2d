"""Who is reconciled next, on a clock of its own: whoever fails, is slow or changes all the time holds up nobody."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from chatoperator.controller import OLDEST_MAX_SECONDS, SWEEP_SECONDS
from chatoperator.kube.lanes import (
    BACKOFF_SECONDS,
    COALESCE_SECONDS,
    QUICK_RUNS,
    RUNS_MAX,
    SLOW_RUNS,
    SLOW_SECONDS,
    Key,
    Lanes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Day:
    """Lanes with a sweep, on which each key takes its time and fails or not.

    Attributes:
        keys: What each sweep wakes.
        seconds: A run takes, by the first part of the key.
        failing: First parts of those that fail.
        restless: First parts of those to which something happens every second.
        waits: The most seconds between a sweep's wake and the start that follows it, by the first part of the key.
        oldest: What kubelet would have heard at the worst.
        most: Runs at a time.
    """

    keys: list[Key]
    seconds: dict[str, float]
    failing: frozenset[str] = frozenset()
    restless: frozenset[str] = frozenset()
    waits: dict[str, float] = field(default_factory=dict)
    oldest: float = 0.0
    most: int = 0
    lanes: Lanes = field(default_factory=Lanes)
    now: float = 0.0
    _running: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _events: list[tuple[float, int, str, Key]] = field(default_factory=list)
    _woken: dict[Key, float] = field(default_factory=dict)

    def run(self, seconds: float) -> None:
        """Let time go on, and forget what was at the worst before."""
        self.waits.clear()
        self.oldest, end = 0.0, self.now + seconds
        for number in range(int(seconds)):
            self._later(self.now + number, "second", EVERYBODY)
        while self._events and self._events[0][0] <= end:
            self.now, _, what, key = heapq.heappop(self._events)
            self._happens(what, key)
            while (begun := self.lanes.start(self.now)) is not None:
                self._begins(begun)
            at = self.lanes.next_at()
            if at is not None and not any(event[0] <= at for event in self._events[:1]):
                self._later(at, "", EVERYBODY)
        self.now = end

    def _later(self, at: float, what: str, key: Key) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), what, key))

    def _happens(self, what: str, key: Key) -> None:
        match what:
            case "second":
                self.oldest = max(self.oldest, self.lanes.oldest_seconds(self.now))
                sweep = round(self.now) % SWEEP_SECONDS == 0
                for one in self.keys:
                    if sweep:
                        self._woken.setdefault(one, self.now)
                        self.lanes.wake(one, self.now, urgent=False)
                    if one[0] in self.restless:
                        self.lanes.wake(one, self.now)
            case "slow":
                self.lanes.turned_slow(key)
            case "end":
                self._running -= 1
                self.lanes.end(key, self.now, failed=key[0] in self.failing)

    def _begins(self, key: Key) -> None:
        self._running += 1
        self.most = max(self.most, self._running)
        waited = self.now - self._woken.pop(key, self.now)
        self.waits[key[0]] = max(self.waits.get(key[0], 0.0), waited)
        takes = self.seconds[key[0]]
        if takes > SLOW_SECONDS:
            self._later(self.now + SLOW_SECONDS, "slow", key)
        self._later(self.now + takes, "end", key)


EVERYBODY = ("", "")


def started(lanes: Lanes, now: float) -> Iterator[Key]:
    while (key := lanes.start(now)) is not None:
        yield key


def many(name: str, count: int) -> list[Key]:
    return [(name, str(number)) for number in range(count)]


@pytest.mark.parametrize("failing", [True, False], ids=["failing", "slow"])
@pytest.mark.parametrize("takes", [0.5, 6.0, 12.0])
def test_a_thousand_that_fail_or_hang_keep_fifty_healthy_ones_waiting_for_no_sweep(
    takes: float,
    failing: bool,  # noqa: FBT001
) -> None:
    day = Day(
        many("bad", 1_000) + many("good", 50),
        {"bad": takes, "good": 0.1},
        failing=frozenset({"bad"} if failing else ()),
    )
    # The first time nobody knows who fails; meanwhile the operator lives.
    day.run(120)
    assert day.oldest < OLDEST_MAX_SECONDS
    assert day.waits["good"] < OLDEST_MAX_SECONDS
    day.run(600)
    assert day.waits["good"] < SWEEP_SECONDS
    assert day.oldest < SWEEP_SECONDS
    assert day.waits["bad"] > 0, "they are tried all the same"
    assert day.most <= RUNS_MAX


def test_what_changes_all_the_time_leaves_turns_to_what_is_due() -> None:
    day = Day(
        many("restless", 1_000) + many("good", 50), {"restless": 1.0, "good": 0.1}, restless=frozenset({"restless"})
    )
    day.run(60)
    assert day.waits["good"] < SWEEP_SECONDS
    assert day.waits["restless"] > day.waits["good"]


def test_who_fails_is_tried_after_ever_longer_waits_and_after_a_success_at_once() -> None:
    lanes, key, now = Lanes(), ("chat", "demo"), 0.0
    lanes.wake(key, now)
    waits = []
    for _ in range(len(BACKOFF_SECONDS) + 1):
        at = lanes.next_at()
        assert at is not None
        waits.append(at - now)
        now = at
        assert lanes.start(now) == key
        lanes.end(key, now, failed=True)
    assert waits == pytest.approx([COALESCE_SECONDS, *BACKOFF_SECONDS])
    at = lanes.next_at()
    assert at is not None
    assert lanes.start(at) == key
    lanes.end(key, at, failed=False)
    lanes.wake(key, at)
    assert lanes.next_at() == at + COALESCE_SECONDS


def test_a_failed_attempt_counts_as_tried_and_one_that_hangs_keeps_the_others_alive() -> None:
    lanes = Lanes()
    for key in many("bad", SLOW_RUNS + 5):
        lanes.wake(key, 0.0)
    first = list(started(lanes, 1.0))
    for key in first:
        lanes.end(key, 7.0, failed=True)
    assert lanes.oldest_seconds(7.0) == 0
    assert len(list(started(lanes, 10.0))) == SLOW_RUNS
    assert lanes.oldest_seconds(1_000.0) == 0, "who waits behind what hangs has been tried"
    lanes.wake(("good", "0"), 1_000.0)
    assert lanes.oldest_seconds(1_100.0) == pytest.approx(100 - COALESCE_SECONDS), "nobody lets it start"
    assert lanes.start(1_100.0) == ("good", "0")
    assert lanes.oldest_seconds(1_100.0) == 0


def test_what_is_quick_again_has_its_place_among_the_quick_ones() -> None:
    lanes, key = Lanes(), ("chat", "demo")
    lanes.wake(key, 0.0)
    assert lanes.start(1.0) == key
    lanes.turned_slow(key)
    lanes.end(key, 9.0, failed=False)
    lanes.wake(key, 10.0)
    assert lanes.start(11.0) == key
    lanes.end(key, 11.5, failed=False)
    for other in many(key[0], QUICK_RUNS + 1):
        lanes.wake(other, 12.0)
    lanes.wake(key, 12.0)
    begun = [lanes.start(13.0) for _ in range(QUICK_RUNS + 1)]
    assert key not in begun, "it waits behind the others, as all quick ones do"
    assert begun[-1] is None


def test_who_makes_many_at_once_keeps_no_other_namespace_waiting() -> None:
    """A tenant's crowd, each of which takes as long as a bring-up on a busy machine."""
    crowd, others = many("crowd", 1_000), [(name, "demo") for name in ("ana", "ben", "cyd")]
    day = Day([*crowd, *others], {"crowd": 1.9, **dict.fromkeys(("ana", "ben", "cyd"), 0.1)})
    day.run(120)
    assert all(day.waits[name] < 1.9 + COALESCE_SECONDS + 0.2 for name, _ in others), day.waits
    assert day.waits["crowd"] > 10, "there are so many that they wait for each other"
    assert day.oldest < OLDEST_MAX_SECONDS


def test_a_namespace_that_gets_no_turn_counts_as_waiting_however_often_others_do() -> None:
    lanes = Lanes()
    for key in many("crowd", QUICK_RUNS + 5):
        lanes.wake(key, 0.0)
    begun = [lanes.start(1.0) for _ in range(QUICK_RUNS)]
    assert lanes.oldest_seconds(2.0) == pytest.approx(1.0), "since the last turn that it had"
    lanes.wake(("chat", "demo"), 2.0)
    # Nothing begins any more: the process hangs.
    assert lanes.start(100.0) is None
    assert lanes.oldest_seconds(100.0) == pytest.approx(99.0)
    for one in begun:
        assert one is not None
        lanes.end(one, 100.0, failed=False)
    assert ("chat", "demo") in [lanes.start(100.0), lanes.start(100.0)]


def test_namespaces_take_turns_and_within_one_the_first_is_first() -> None:
    lanes = Lanes()
    for key in (("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1"), ("b", "2")):
        lanes.wake(key, 0.0)
    begun = [lanes.start(1.0) for _ in range(6)]
    assert begun == [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2"), ("b", "2"), ("a", "3")]


def test_the_wait_of_a_run_is_from_when_it_was_due() -> None:
    lanes = Lanes()
    lanes.wake(("a", "1"), 10.0)
    key = lanes.start(15.0)
    assert key is not None
    assert lanes.waited_seconds(key) == pytest.approx(5.0 - COALESCE_SECONDS)


def test_nothing_is_kept_of_a_namespace_whose_last_key_has_run() -> None:
    lanes = Lanes()
    lanes.wake(("a", "1"), 0.0)
    lanes.wake(("a", "2"), 0.0)
    for _ in range(2):
        key = lanes.start(1.0)
        assert key is not None
        assert lanes._started == {"a": 1.0}
        lanes.end(key, 2.0, failed=False)
    assert (lanes._started, dict(lanes._keys)) == ({}, {})
