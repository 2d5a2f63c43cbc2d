"""Token buckets from which all servers take together: reports what is taken here, learns what all have taken. Pure.

A server never waits for the others. It takes from its own bucket, reports that afterwards, and lowers its bucket by
what the answer says. So what all servers give to one key, in any time, is at most what one would give, and for each
server what it had given and not yet reported. That is counted too, so that it is missing afterwards.
"""

from __future__ import annotations

from collections.abc import Hashable  # noqa: TC003 - mypyc evaluates the annotations of a named tuple
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from chatserver.limits.rates import KEYS_MAX, TokenBuckets

if TYPE_CHECKING:
    from collections.abc import Callable

DUE_PARTS: Final = 60
"""Part of a bucket after which a key is reported at once: of 600 messages a minute, 10."""

_SUBJECT_BYTES: Final = 8
"""Of the digest of an address: two of a million addresses are hardly ever the same."""


class Taken(NamedTuple):
    """What this server has taken from one bucket, in milliseconds of its refill.

    Attributes:
        key: whose bucket.
        taken_ms: since the last report.
        known_ms: before that, as far as this server knows: counts where the shared count was lost.
    """

    key: Hashable
    taken_ms: int
    known_ms: int


class SharedBuckets(TokenBuckets):
    """Buckets of which each is shared with the other servers.

    Args:
        tokens: tokens per period; not 0.
        period_seconds: the period.
        on_due: called when a key is to be reported at once; must not block.
        keys_max: keys kept at most.

    Example:
        >>> buckets = SharedBuckets(60, period_seconds=60.0, on_due=lambda: None)
        >>> buckets.take("ana", 100.0)
        0.0
        >>> buckets.collect(100.0)
        [Taken(key='ana', taken_ms=1000, known_ms=0)]
        >>> buckets.learn("ana", 100.0, 60.0)
        >>> buckets.take("ana", 100.0)
        1.0
    """

    def __init__(
        self, tokens: int, *, period_seconds: float, on_due: Callable[[], None], keys_max: int = KEYS_MAX
    ) -> None:
        super().__init__(tokens, period_seconds=period_seconds, keys_max=keys_max)
        self._due_seconds = period_seconds / DUE_PARTS
        self._on_due = on_due
        self._unreported: dict[Hashable, float] = {}
        self._due: set[Hashable] = set()

    def take(self, key: Hashable, now: float, tokens: int = 1) -> float:
        """Take tokens; see ``TokenBuckets.take``."""
        wait_seconds = super().take(key, now, tokens)
        if wait_seconds:
            return wait_seconds
        unreported = self._unreported.get(key)
        if unreported is None:
            if len(self._unreported) >= self._keys_max:
                # It is counted here alone.
                return 0.0
            unreported = 0.0
        unreported += min(tokens * self._seconds_a_token, self._period_seconds)
        self._unreported[key] = unreported
        if unreported >= self._due_seconds and key not in self._due:
            self._due.add(key)
            self._on_due()
        return 0.0

    def collect(self, now: float, *, due_only: bool = False) -> list[Taken]:
        """Return what was taken since the last call; each is returned once, whether its report arrives or not.

        Args:
            now: seconds of the clock of ``take``.
            due_only: only of the keys that are to be reported at once.
        """
        keys = list(self._due if due_only else self._unreported)
        self._due.clear()
        return [self._report(key, now) for key in keys]

    def _report(self, key: Hashable, now: float) -> Taken:
        taken_seconds = self._unreported.pop(key)
        known_seconds = self._full_at.get(key, now) - now - taken_seconds
        return Taken(key, max(1, round(1000 * taken_seconds)), max(0, int(1000 * known_seconds)))

    def learn(self, key: Hashable, sent_at: float, busy_seconds: float) -> None:
        """Lower a bucket to what all servers have left in it.

        Args:
            key: whose bucket.
            sent_at: when the report was collected, as its ``now``.
            busy_seconds: then its bucket will be full again, counted from the report on; above the period if servers
                gave too much.
        """
        # What was taken since then is in no answer.
        full_at = sent_at + busy_seconds + self._unreported.get(key, 0.0)
        known = self._full_at.get(key)
        # Its bucket is never filled: the answer may be that of a count which was lost.
        if known is None or known < full_at:
            self._full_at[key] = full_at
            if len(self._full_at) > self._keys_max:
                self._full_at.popitem(last=False)


def subject_of(kind: str, key: Hashable, secret_key: bytes) -> tuple[int, str]:
    """Return the number that places a bucket, and its name: the same on all servers.

    Args:
        kind: of the limit.
        key: the number of a user or device, or the text of an address, which the name does not reveal.
        secret_key: of the chat; without it nobody can find out by trying which addresses are counted.

    Example:
        >>> subject_of("messages", 17, b"secret")
        (17, 'messages:17')
    """
    if isinstance(key, int):
        return key, f"{kind}:{key}"
    # A key of any length becomes one that blake2b takes.
    digest = blake2b(str(key).encode(), key=blake2b(secret_key).digest(), digest_size=_SUBJECT_BYTES).digest()
    return int.from_bytes(digest), f"{kind}:{digest.hex()}"
