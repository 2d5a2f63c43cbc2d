"""Rate limits of this server: token buckets in bounded memory, with the time as an argument.

Servers share nothing here, so that a limit costs no round trip: on N servers a user who spreads over all of them gets
at most N times the rate. Limits that must hold for the whole cluster (sign-in codes) are counted in the database.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from chatserver.errors import RateLimited
from chatserver.services.addresses import address_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MINUTE_SECONDS: Final = 60.0

KEYS_MAX: Final = 50_000
"""Keys remembered by one kind of limit: five times the connections of one server, some 8 MB."""

_ROUNDING_SECONDS: Final = 1e-6
"""What sums of floats may be off by; without it the last token of a full bucket is refused now and then."""


class TokenBuckets:
    """One bucket a key: it holds a minute's tokens and is refilled evenly.

    A bucket is kept as the one number that describes it: when it will be full again. One that is full is as good as
    none, so that forgetting the keys that were idle for longest forgets nothing, as long as KEYS_MAX suffices.

    Args:
        per_minute: tokens a minute, and at once; 0: no limit.
        keys_max: keys remembered at most.

    Example:
        >>> buckets = TokenBuckets(2)
        >>> [buckets.take("ana", now) for now in (100.0, 100.0, 100.0, 130.0)]
        [0.0, 0.0, 30.0, 0.0]
    """

    def __init__(self, per_minute: int, *, keys_max: int = KEYS_MAX) -> None:
        self._seconds_a_token = MINUTE_SECONDS / per_minute if per_minute else 0.0
        self._keys_max = keys_max
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float) -> float:
        """Take a token.

        Args:
            key: whose bucket.
            now: seconds of a monotonic clock.

        Returns:
            0.0 when there was one; else the seconds until there is one, and nothing was taken.
        """
        if not self._seconds_a_token:
            return 0.0
        full_at = max(self._full_at.get(key, now), now) + self._seconds_a_token
        missing_seconds = full_at - now - MINUTE_SECONDS
        if missing_seconds > _ROUNDING_SECONDS:
            return missing_seconds
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._keys_max:
            self._full_at.popitem(last=False)
        return 0.0


class Limits:
    """The limits of users, devices and addresses on this server.

    Args:
        messages_per_user_per_minute: sends by one user, on all their devices, through REST and WebSockets; 0: no limit.
        requests_per_device_per_minute: REST calls with one device's token; 0: no limit.
        requests_per_address_per_minute: REST calls and WebSocket handshakes from one address; 0: no limit.
        on_refused: told ``messages``, ``device`` or ``address`` at each refusal, for metrics.
    """

    def __init__(
        self,
        *,
        messages_per_user_per_minute: int,
        requests_per_device_per_minute: int,
        requests_per_address_per_minute: int,
        on_refused: Callable[[str], None],
    ) -> None:
        self._messages = TokenBuckets(messages_per_user_per_minute)
        self._devices = TokenBuckets(requests_per_device_per_minute)
        self._addresses = TokenBuckets(requests_per_address_per_minute)
        self._on_refused = on_refused

    def check_message(self, user_id: int, now: float) -> None:
        """Count a message that a user sends.

        Args:
            user_id: the sender.
            now: seconds of a monotonic clock, as of every check here.

        Raises:
            RateLimited: too many; nothing was counted.
        """
        self._check("messages", self._messages.take(user_id, now), "You send too many messages.")

    def check_request(self, device_id: int, now: float) -> None:
        """Count a REST call of a signed-in device; raises as of `check_message`."""
        self._check("device", self._devices.take(device_id, now), "This device makes too many requests.")

    def check_address(self, address: str, now: float) -> None:
        """Count a request from an address (IPv6 by its /64); raises as of `check_message`."""
        self._check("address", self._addresses.take(address_subject(address), now), "Too many requests from here.")

    def _check(self, kind: str, wait_seconds: float, detail: str) -> None:
        if wait_seconds:
            self._on_refused(kind)
            raise RateLimited(detail, retry_after_seconds=max(1, math.ceil(wait_seconds)))
