"""Several servers that share rate limits, with the time as an argument: the shared count without Valkey."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatserver.limits.shared import SharedBuckets, Taken

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

PERIOD_SECONDS = 60.0
KEY = "ana"


class SharedCount:
    """What `limit_counts.COUNT` does; `test_valkey_limits.py` compares both."""

    def __init__(self) -> None:
        self._full_at: dict[Hashable, float] = {}

    def count(self, reported: Sequence[Taken], now: float) -> list[float]:
        """Add what was taken; returns after how many seconds each bucket will be full."""
        answers = []
        for taken in reported:
            busy_seconds = self._full_at.get(taken.key, now) - now
            if busy_seconds <= 0:
                busy_seconds = taken.known_ms / 1000
            busy_seconds += taken.taken_ms / 1000
            self._full_at[taken.key] = now + busy_seconds
            answers.append(busy_seconds)
        return answers

    def flush(self) -> None:
        """Lose everything."""
        self._full_at.clear()


@dataclass
class Report:
    """A report that is under way.

    Attributes:
        answers: None as long as it has not been counted.
    """

    sent_at: float
    reported: list[Taken]
    answers: list[float] | None = None


@dataclass
class SharingServer:
    """One server, which takes for one key.

    Attributes:
        granted: when it granted how many tokens.
        unknown: seconds of refill that it has granted since the last report from whose answer it has learned.
        unknown_most: the most that this was.
        delay_most: the longest time from a report to its being counted.
    """

    tokens: int
    granted: list[tuple[float, int]] = field(default_factory=list)
    unknown: float = 0.0
    unknown_most: float = 0.0
    delay_most: float = 0.0
    is_due: bool = False

    def __post_init__(self) -> None:
        self.buckets = SharedBuckets(self.tokens, period_seconds=PERIOD_SECONDS, on_due=self._due)
        self._report: Report | None = None
        self._reported_seconds = 0.0

    def _due(self) -> None:
        self.is_due = True

    def take(self, now: float, tokens: int = 1) -> float:
        """Take tokens; returns the seconds until they are available."""
        wait_seconds = self.buckets.take(KEY, now, tokens)
        if not wait_seconds:
            taken = min(tokens, self.tokens)
            self.granted.append((now, taken))
            self.unknown += taken * PERIOD_SECONDS / self.tokens
            self.unknown_most = max(self.unknown_most, self.unknown)
        return wait_seconds

    def send(self, now: float) -> None:
        """Send a report, unless one is under way."""
        if self._report is None:
            self._report = Report(now, self.buckets.collect(now))
            self._reported_seconds = self.unknown

    def arrive(self, count: SharedCount, now: float) -> None:
        """Have the report that is under way counted."""
        if self._report is not None and self._report.answers is None:
            self._report.answers = count.count(self._report.reported, now)
            self.delay_most = max(self.delay_most, now - self._report.sent_at)

    def learn(self) -> None:
        """Take in the answer, where there is one."""
        report = self._report
        if report is not None and report.answers is not None:
            for taken, busy_seconds in zip(report.reported, report.answers, strict=True):
                self.buckets.learn(taken.key, report.sent_at, busy_seconds)
            self._report = None
            self.unknown -= self._reported_seconds

    def lose(self) -> None:
        """Lose the report that is under way, or its answer."""
        self._report = None

    def advance(self, count: SharedCount, now: float) -> None:
        """Have the report that is under way counted, or its answer learned; without any, send one."""
        if self._report is None:
            self.send(now)
        elif self._report.answers is None:
            self.arrive(count, now)
        else:
            self.learn()

    def exchange(self, count: SharedCount, now: float) -> None:
        """Report, and learn at once."""
        self.is_due = False
        self.send(now)
        self.arrive(count, now)
        self.learn()
