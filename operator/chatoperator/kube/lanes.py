"""Who is reconciled next: lanes for what happened, for what is due, and for what fails or is slow. Pure.

The lanes share the runs so that nobody who fails, is slow, or changes all the time keeps anybody else waiting. In each
lane namespaces take turns, so that nobody who has many keeps another namespace waiting.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum, auto

Key = tuple[str, str]
"""(namespace, name) of a ChatCluster."""

COALESCE_SECONDS = 0.2
"""Waited after a wake: one change of a Deployment comes as a burst of events."""

BACKOFF_SECONDS = (1, 2, 4, 8, 15)
"""Waits after failures in a row; the last repeats, as often as the sweep comes."""

SLOW_SECONDS = 2
"""A run that takes longer is slow: a request to a chat that does not answer, or to an API server that hangs."""

QUICK_RUNS, SLOW_RUNS = 40, 16
"""Runs at a time that may be started: several times as many as requests at a time, since most of them wait for a
server's answer. A quick one that turns out to be slow makes room for the next quick one."""

RUNS_MAX = 256
"""Runs at a time in all, those that turned out to be slow included; each holds about half a megabyte."""

DUE_EVERY = 4
"""Every fourth start is of a key that is due, where one waits, however much happens to others."""


class _Stage(Enum):
    WAITING = auto()
    QUEUED = auto()
    RUNNING = auto()


@dataclass
class _Queued:
    """One key that is to run, or runs.

    Attributes:
        urgent: Whether something happened, rather than that a look is due.
        due_at: Since when it may run.
        woken: Whether it is to run once more after this run.
        failures: In a row.
        counted_slow: Whether its run counts as a slow one.
        waited_seconds: How long it had been due when its last run began.
    """

    urgent: bool
    due_at: float
    stage: _Stage = _Stage.WAITING
    woken: bool = False
    failures: int = 0
    counted_slow: bool = False
    waited_seconds: float = 0


class _Turns:
    """A queue in which namespaces take turns; within one, first come, first served."""

    def __init__(self) -> None:
        self._by_namespace: dict[str, deque[Key]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_namespace)

    def append(self, key: Key) -> None:
        self._by_namespace.setdefault(key[0], deque()).append(key)

    def popleft(self) -> Key:
        namespace, keys = next(iter(self._by_namespace.items()))
        key = keys.popleft()
        del self._by_namespace[namespace]
        if keys:
            # Behind all others.
            self._by_namespace[namespace] = keys
        return key


class Lanes:
    """Keys that wait, and those that run. Times are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Queued] = {}
        self._slow: set[Key] = set()
        self._waiting: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()
        self._queued = {(slow, urgent): _Turns() for slow in (False, True) for urgent in (False, True)}
        self._started: dict[str, float] = {}
        self._keys: Counter[str] = Counter()
        self._runs = {False: 0, True: 0}
        self._starts = {False: itertools.count(1), True: itertools.count(1)}

    def __len__(self) -> int:
        """How many keys wait for a run."""
        return sum(entry.stage is not _Stage.RUNNING for entry in self._entries.values())

    def wake(self, key: Key, now: float, *, urgent: bool = True) -> None:
        """Have a key run, soon and at least once from now.

        Args:
            key: What is to run.
            now: The time.
            urgent: False where nothing is known to have happened; many of these keep nobody waiting.
        """
        entry = self._entries.get(key)
        if entry is None:
            self._wait(key, _Queued(urgent, now), now + COALESCE_SECONDS)
        elif entry.stage is _Stage.RUNNING:
            entry.woken = True
            entry.urgent |= urgent
        elif urgent and not entry.urgent:
            entry.urgent = True
            if entry.stage is _Stage.QUEUED:
                self._queued[key in self._slow, True].append(key)

    def start(self, now: float) -> Key | None:
        """The next key to run, which counts as running from now on; None while there is none or no room."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, key = heapq.heappop(self._waiting)
            entry = self._entries[key]
            entry.stage = _Stage.QUEUED
            self._queued[key in self._slow, entry.urgent].append(key)
        for slow, most in ((True, SLOW_RUNS), (False, QUICK_RUNS)):
            if self._runs[slow] < most and sum(self._runs.values()) < RUNS_MAX:
                found = self._pop(slow=slow)
                if found is not None:
                    self._begin(found, now, slow=slow)
                    return found
        return None

    def turned_slow(self, key: Key) -> None:
        """A run takes long: from now on, and the next time, it takes the place of a slow one."""
        entry = self._entries[key]
        self._slow.add(key)
        if not entry.counted_slow:
            entry.counted_slow = True
            self._runs[False] -= 1
            self._runs[True] += 1

    def end(self, key: Key, now: float, *, failed: bool) -> None:
        """A run has ended. One that failed is tried again after a wait, in the lane of the slow ones."""
        entry = self._entries[key]
        self._runs[entry.counted_slow] -= 1
        was_slow, entry.counted_slow = entry.counted_slow, False
        if failed:
            self._slow.add(key)
            entry.urgent = False
            self._wait(key, entry, now + BACKOFF_SECONDS[min(entry.failures, len(BACKOFF_SECONDS) - 1)])
            entry.failures += 1
            return
        if not was_slow or now - entry.due_at < SLOW_SECONDS:
            self._slow.discard(key)
        if entry.woken:
            entry.failures = 0
            self._wait(key, entry, now + COALESCE_SECONDS)
        else:
            self._remove(key)

    def waited_seconds(self, key: Key) -> float:
        """How long a key that runs had been due when its run began."""
        return self._entries[key].waited_seconds

    def next_at(self) -> float | None:
        """When the next key has waited long enough; None where none waits."""
        return self._waiting[0][0] if self._waiting else None

    def oldest_seconds(self, now: float) -> float:
        """For how long the key that has waited longest has not been tried since it was due; 0 where none waits.

        One that failed or was slow the last time counts only while there is room for it: how soon each has its turn
        depends on how many of them there are, and on how long they take. Likewise a namespace's keys wait only since
        the last turn that it had, however many it has. It changes nothing, so that another thread may call it.

        Example:
            1,000 ChatClusters made at once in a namespace of which one is started each second -> 1 s, not 1,000.
        """
        room = self._runs[True] < SLOW_RUNS and sum(self._runs.values()) < RUNS_MAX
        since = [
            max(entry.due_at, self._started.get(key[0], entry.due_at))
            # A copy in one step, which no change of another thread interrupts.
            for key, entry in list(self._entries.items())
            if entry.stage is not _Stage.RUNNING and (room or key not in self._slow)
        ]
        return max(0.0, now - min(since, default=now))

    def _wait(self, key: Key, entry: _Queued, until: float) -> None:
        entry.stage, entry.due_at = _Stage.WAITING, until
        if key not in self._entries:
            self._keys[key[0]] += 1
        self._entries[key] = entry
        heapq.heappush(self._waiting, (until, next(self._numbers), key))

    def _remove(self, key: Key) -> None:
        del self._entries[key]
        self._keys[key[0]] -= 1
        if not self._keys[key[0]]:
            del self._keys[key[0]]
            self._started.pop(key[0], None)

    def _pop(self, *, slow: bool) -> Key | None:
        urgent, due = self._queued[slow, True], self._queued[slow, False]
        first_due = next(self._starts[slow]) % DUE_EVERY == 0
        for lane in (due, urgent) if first_due else (urgent, due):
            while lane:
                key = lane.popleft()
                entry = self._entries.get(key)
                # What became urgent while it waited is in two lanes.
                if entry is not None and entry.stage is _Stage.QUEUED:
                    return key
        return None

    def _begin(self, key: Key, now: float, *, slow: bool) -> None:
        entry = self._entries[key]
        entry.waited_seconds = now - entry.due_at
        entry.stage, entry.due_at = _Stage.RUNNING, now
        self._started[key[0]] = now
        entry.woken = entry.urgent = False
        entry.counted_slow = slow
        self._runs[slow] += 1
