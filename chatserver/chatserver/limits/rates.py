"""Rate limits of this server: token buckets in bounded memory, with the time as an argument.

Servers share nothing here, so that a limit costs no round trip: on N servers a user who spreads over all of them gets
at most N times the rate. Limits that must hold for the whole cluster (sign-in codes) are counted in the database.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from chatserver.errors import RateLimited
from chatserver.limits.addresses import address_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MINUTE_SECONDS: Final = 60.0
HOUR_SECONDS: Final = 3600.0

ROW_BYTES: Final = 300
"""What a row costs beside its texts: a message with its indexes was measured at 296 bytes."""

MEMBERS_A_CHANGE: Final = 8
"""Members of a new group that count as one change: 1,024 of them as 129 messages."""

KEYS_MAX: Final = 50_000
"""Keys remembered by one kind of limit: five times the connections of one server, some 8 MB."""

_ROUNDING_SECONDS: Final = 1e-6
"""What sums of floats may be off by; without it the last token of a full bucket is refused now and then."""


class TokenBuckets:
    """One bucket a key: it holds a period's tokens and is refilled evenly.

    A bucket is kept as the one number that describes it: when it will be full again. One that is full is as good as
    none, so that forgetting the keys that were idle for longest forgets nothing, as long as KEYS_MAX suffices.

    Args:
        tokens: so many a period, and at once; 0: no limit.
        period_seconds: the period.
        keys_max: keys remembered at most.

    Example:
        >>> buckets = TokenBuckets(2)
        >>> [buckets.take("ana", now) for now in (100.0, 100.0, 100.0, 130.0)]
        [0.0, 0.0, 30.0, 0.0]
    """

    def __init__(self, tokens: int, *, period_seconds: float = MINUTE_SECONDS, keys_max: int = KEYS_MAX) -> None:
        self._seconds_a_token = period_seconds / tokens if tokens else 0.0
        self._period_seconds = period_seconds
        self._keys_max = keys_max
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float, tokens: int = 1) -> float:
        """Take tokens.

        Args:
            key: whose bucket.
            now: seconds of a monotonic clock.
            tokens: how many; more than a bucket holds are as many as it holds.

        Returns:
            0.0 when they were there; else the seconds until they are, and nothing was taken.
        """
        if not self._seconds_a_token:
            return 0.0
        # Each message comes by here twice: comparisons cost a fifth of what calls of min and max do.
        taken_seconds = tokens * self._seconds_a_token
        if taken_seconds > self._period_seconds:  # noqa: PLR1730
            taken_seconds = self._period_seconds
        known = self._full_at.get(key)
        full_at = taken_seconds + (now if known is None or known < now else known)
        missing_seconds = full_at - now - self._period_seconds
        if missing_seconds > _ROUNDING_SECONDS:
            return missing_seconds
        self._full_at[key] = full_at
        if known is not None:
            self._full_at.move_to_end(key)
        elif len(self._full_at) > self._keys_max:
            self._full_at.popitem(last=False)
        return 0.0


class Limits:
    """The limits of users, devices and addresses on this server.

    Args:
        messages_per_user_per_minute: sends and other changes by one user, on all their devices, through REST and
            WebSockets; 0: no limit.
        stored_bytes_per_user_per_hour: bytes that one user has stored, as of `stored_bytes`; 0: no limit.
        requests_per_device_per_minute: REST calls with one device's token; 0: no limit.
        requests_per_address_per_minute: REST calls and WebSocket handshakes from one address; 0: no limit.
        on_refused: told ``messages``, ``bytes``, ``device`` or ``address`` at each refusal, for metrics.
    """

    def __init__(
        self,
        *,
        messages_per_user_per_minute: int,
        stored_bytes_per_user_per_hour: int,
        requests_per_device_per_minute: int,
        requests_per_address_per_minute: int,
        on_refused: Callable[[str], None],
    ) -> None:
        self._messages = TokenBuckets(messages_per_user_per_minute)
        self._bytes = TokenBuckets(stored_bytes_per_user_per_hour, period_seconds=HOUR_SECONDS)
        self._devices = TokenBuckets(requests_per_device_per_minute)
        self._addresses = TokenBuckets(requests_per_address_per_minute)
        self._on_refused = on_refused

    def check_change(self, user_id: int, now: float, stored: int, changes: int = 1) -> None:
        """Count a message that a user sends, or another change that they make.

        Args:
            user_id: whose it is.
            now: seconds of a monotonic clock, as of every check here.
            stored: bytes that it has stored, as of `stored_bytes`.
            changes: as how many messages it counts.

        Raises:
            RateLimited: too many messages, and nothing was counted; or too many bytes.
        """
        if wait_seconds := self._messages.take(user_id, now, changes):
            raise self._refused("messages", wait_seconds, "You send too many messages.")
        if wait_seconds := self._bytes.take(user_id, now, stored):
            raise self._refused("bytes", wait_seconds, "You have too much stored in this hour.")

    def check_request(self, device_id: int, now: float) -> None:
        """Count a REST call of a signed-in device; raises as of `check_change`."""
        if wait_seconds := self._devices.take(device_id, now):
            raise self._refused("device", wait_seconds, "This device makes too many requests.")

    def check_address(self, address: str, now: float) -> None:
        """Count a request from an address (IPv6 by its /64); raises as of `check_change`."""
        if wait_seconds := self._addresses.take(address_subject(address), now):
            raise self._refused("address", wait_seconds, "Too many requests from here.")

    def _refused(self, kind: str, wait_seconds: float, detail: str) -> RateLimited:
        self._on_refused(kind)
        return RateLimited(detail, retry_after_seconds=max(1, math.ceil(wait_seconds)))


def stored_bytes(*texts: str | None, rows: int = 1) -> int:
    """Return what a change has stored: its texts in UTF-8, and so many rows.

    Example:
        >>> stored_bytes("hello", None), stored_bytes("é", rows=2)
        (305, 602)
    """
    total = rows * ROW_BYTES
    for text in texts:
        if text:
            total += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return total


def stored_message_bytes(text: str | None, media_url: str | None) -> int:
    """Return what `stored_bytes` does of a message; nearly all are ASCII or short, and have no link."""
    if media_url is None and text is not None and text.isascii():
        return ROW_BYTES + len(text)
    return stored_bytes(text, media_url)


def group_changes(members: int) -> int:
    """Return as how many messages a new group counts; a row for each member is stored too."""
    return 1 + members // MEMBERS_A_CHANGE
