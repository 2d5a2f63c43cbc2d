"""HTTP requests, and what rate limits reject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chatserver.metrics.buckets import REQUEST_SECONDS

if TYPE_CHECKING:
    from chatserver.metrics.instruments import Families

LIMITS: Final = (
    "messages", "polls", "bytes", "device", "address", "numbers", "exports", "codes", "tries", "pins", "invites",
)  # fmt: skip
"""Rate limits that reject requests."""


class RequestMetrics:
    """HTTP requests.

    Attributes:
        answered: by route template, method and status.
        limits_shared: one gauge, where there is something to share the limits by.
        seconds: by route template and method, without long polls.
    """

    def __init__(self, families: Families) -> None:
        self.answered = families.counters(
            "chatserver_http_requests",
            "HTTP requests by route template, method and status",
            ["route", "method", "status"],
        )
        self.seconds = families.histograms(
            "chatserver_http_request_seconds",
            "Time to answer an HTTP request by route template and method, long polls excluded",
            ["route", "method"],
            REQUEST_SECONDS,
        )
        self._limited = families.counters(
            "chatserver_rate_limited",
            "Requests rejected by a rate limit, by limit",
            ["limit"],
            [(limit,) for limit in LIMITS],
        )

        self.limits_shared = families.gauges(
            "chatserver_limits_shared",
            "1 while the rate limits of users, devices and addresses count across servers, by Valkey; 0 while each"
            " server counts for itself, because Valkey does not answer or refuses to count; no series with bus"
            " PostgreSQL",
            (),
        )

    def count_limited(self, limit: str) -> None:
        """Count a request that a rate limit rejected."""
        self._limited.labels(limit).inc()
