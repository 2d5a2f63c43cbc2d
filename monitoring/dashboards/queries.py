"""PromQL of the panels: selectors of the chosen chats, rates, quantiles. Pure."""

from __future__ import annotations

from monitoring.dashboards.model import Query

CHATS = 'namespace=~"$namespace", chatcluster=~"$chatcluster"'
"""The chats that the variables of a dashboard choose."""

BY_CHAT = ("namespace", "chatcluster")

CHAT = "{{namespace}}/{{chatcluster}}"
"""Legend of series by chat."""


def of(metric: str, labels: str = "") -> str:
    """A metric of the chosen chats: `of("up", 'component="probe"')`."""
    return f"{metric}{{{CHATS}{', ' + labels if labels else ''}}}"


def rate(metric: str, labels: str = "") -> str:
    """Increase a second of a counter of the chosen chats."""
    return f"rate({of(metric, labels)}[$__rate_interval])"


def increase(metric: str, labels: str = "", over: str = "$__range") -> str:
    """Increase of a counter of the chosen chats, over the shown time if nothing else is given."""
    return f"increase({of(metric, labels)}[{over}])"


def total(expression: str, *by: str) -> str:
    """The sum over all chats, or by labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def quantile(share: float, histogram: str, *by: str, labels: str = "") -> str:
    """A quantile of a histogram, such as 0.99, by labels."""
    return f"histogram_quantile({share:g}, {total(rate(f'{histogram}_bucket', labels), *by, 'le')})"


def quantiles(histogram: str, *by: str, labels: str = "", legend: str = CHAT) -> tuple[Query, ...]:
    """Median and 99th percentile of a histogram."""
    return (
        Query(quantile(0.99, histogram, *by, labels=labels), f"{legend} p99"),
        Query(quantile(0.5, histogram, *by, labels=labels), f"{legend} p50"),
    )


def share(part: str, whole: str) -> str:
    """A ratio, which is 0 and not absent or undefined while the whole is 0."""
    return f"({part}) / clamp_min({whole}, 1e-9)"
