"""Rate limits of this server: token buckets in bounded memory, with the time as an argument. Pure.

A limit costs no round trip: servers share no buckets, so that a user with connections to all N servers gets at most N
times the rate, or they report afterwards what was taken (``shared.py``). Limits that must hold exactly for the whole
cluster (sign-in codes) are counted in the database.
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
DAY_SECONDS: Final = 86_400.0

EXPORTS_PER_USER_PER_DAY: Final = 5
"""Exports of one user's data: one, and some that were cut off."""

ROW_BYTES: Final = 300
"""Bytes of a row beside its texts: a message with its indexes was measured at 296 bytes."""

MEMBERS_A_CHANGE: Final = 8
"""Members of a new group that count as one change: 1,024 of them as 129 messages."""

INVITES_PER_USER: Final = 60
"""Tries of one user at codes of invites in an hour: nobody looks at more, and who leaves and joins is soon stopped."""

INVITES_PER_ADDRESS: Final = 1200
"""The same of one address, which many users may share."""

KEYS_MAX: Final = 50_000
"""Keys that one kind of limit keeps: five times the connections of one server, some 8 MB."""

_ROUNDING_SECONDS: Final = 1e-6
"""Rounding error of sums of floats; without it the last token of a full bucket is sometimes rejected."""


class TokenBuckets:
    """One bucket per key: it holds the tokens of a period and is refilled evenly.

    A bucket is stored as one number: when it will be full again. A full bucket equals no bucket, so that dropping the
    keys that were idle for longest loses nothing, as long as KEYS_MAX suffices.

    Args:
        tokens: tokens per period, also the size of a bucket; 0: no limit.
        period_seconds: the period.
        keys_max: keys kept at most.

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
            tokens: how many; at most a full bucket is taken.

        Returns:
            0.0 if they were taken; else the seconds until they are available, and nothing was taken.
        """
        if not self._seconds_a_token:
            return 0.0
        # Runs twice per message: comparisons cost a fifth of calls of min and max.
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


def local_buckets(_kind: str, tokens: int, period_seconds: float) -> TokenBuckets:
    """Return buckets of this server alone; see ``Limits``."""
    return TokenBuckets(tokens, period_seconds=period_seconds)


class Limits:
    """The limits of users, devices and addresses on this server.

    Args:
        messages_per_user_per_minute: sends and other changes by one user, on all their devices, through REST and
            WebSockets; 0: no limit.
        stored_bytes_per_user_per_hour: bytes that one user may store, counted by `stored_bytes`; 0: no limit.
        requests_per_device_per_minute: REST calls with one device's token; 0: no limit.
        requests_per_address_per_minute: REST calls and WebSocket handshakes from one address; 0: no limit.
        on_refused: called with ``messages``, ``bytes``, ``device``, ``address`` or ``invites`` at each rejection, for
            metrics.
        invites_per_user_per_hour: codes of invites that one user may try; 0: no limit.
        invites_per_address_per_hour: codes of invites that users at one address may try; 0: no limit.
        make_buckets: makes the buckets of one of these kinds; gets the kind, tokens, and the period in seconds.
    """

    def __init__(
        self,
        *,
        messages_per_user_per_minute: int,
        stored_bytes_per_user_per_hour: int,
        requests_per_device_per_minute: int,
        requests_per_address_per_minute: int,
        on_refused: Callable[[str], None],
        invites_per_user_per_hour: int = INVITES_PER_USER,
        invites_per_address_per_hour: int = INVITES_PER_ADDRESS,
        make_buckets: Callable[[str, int, float], TokenBuckets] = local_buckets,
    ) -> None:
        self._messages = make_buckets("messages", messages_per_user_per_minute, MINUTE_SECONDS)
        self._bytes = make_buckets("bytes", stored_bytes_per_user_per_hour, HOUR_SECONDS)
        self._devices = make_buckets("device", requests_per_device_per_minute, MINUTE_SECONDS)
        self._addresses = make_buckets("address", requests_per_address_per_minute, MINUTE_SECONDS)
        self._invites = make_buckets("invite_user", invites_per_user_per_hour, HOUR_SECONDS)
        self._invite_addresses = make_buckets("invite_address", invites_per_address_per_hour, HOUR_SECONDS)
        self._exports = make_buckets("exports", EXPORTS_PER_USER_PER_DAY, DAY_SECONDS)
        self._on_refused = on_refused

    def check_change(self, user_id: int, now: float, stored: int, changes: int = 1) -> None:
        """Count a message or another change of a user.

        Args:
            user_id: who makes it.
            now: seconds of a monotonic clock, the same in every check here.
            stored: bytes that it stores, counted by `stored_bytes`.
            changes: how many messages it counts as.

        Raises:
            RateLimited: too many messages, and nothing was counted; or too many bytes.
        """
        if wait_seconds := self._messages.take(user_id, now, changes):
            raise self._refused("messages", wait_seconds, "You sent too many messages. Wait before you send more.")
        if wait_seconds := self._bytes.take(user_id, now, stored):
            raise self._refused("bytes", wait_seconds, "You stored too much data this hour. Wait before you send more.")

    def check_request(self, device_id: int, now: float, requests: int = 1) -> None:
        """Count a REST call of a signed-in device, as so many of them; raises as of `check_change`."""
        if wait_seconds := self._devices.take(device_id, now, requests):
            raise self._refused(
                "device", wait_seconds, "This device made too many requests. Wait before it makes more."
            )

    def check_export(self, user_id: int, now: float) -> None:
        """Count an export of a user's data; raises as of `check_change`."""
        if wait_seconds := self._exports.take(user_id, now):
            raise self._refused("exports", wait_seconds, "You exported your data several times today. Wait.")

    def check_address(self, address: str, now: float) -> None:
        """Count a request from an address (IPv6 by its /64); raises as of `check_change`."""
        if wait_seconds := self._addresses.take(address_subject(address), now):
            raise self._refused(
                "address", wait_seconds, "Your address made too many requests. Wait before you make more."
            )

    def check_invite(self, user_id: int, address: str, now: float) -> None:
        """Count a try at the code of an invite, valid or not; raises as of `check_change`."""
        wait_seconds = self._invites.take(user_id, now) or self._invite_addresses.take(address_subject(address), now)
        if wait_seconds:
            raise self._refused("invites", wait_seconds, "Too many invites were tried. Wait before you try another.")

    def _refused(self, kind: str, wait_seconds: float, detail: str) -> RateLimited:
        self._on_refused(kind)
        return RateLimited(detail, retry_after_seconds=max(1, math.ceil(wait_seconds)))


def stored_bytes(*texts: str | None, rows: int = 1) -> int:
    """Return the bytes that a change stores: its texts in UTF-8, and so many rows.

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
    """Return `stored_bytes` of a message, with a fast path: most are ASCII or short, and have no link."""
    if media_url is None and text is not None and text.isascii():
        return ROW_BYTES + len(text)
    return stored_bytes(text, media_url)


def group_changes(members: int) -> int:
    """Return how many messages a new group counts as; a row is stored for each member too."""
    return 1 + members // MEMBERS_A_CHANGE
