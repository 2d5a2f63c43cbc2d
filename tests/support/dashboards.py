"""The queries of the dashboards as Grafana would send them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monitoring.dashboards.__main__ import DASHBOARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.prometheus import Prometheus


def substituted(expression: str, *, namespace: str = ".+", chatcluster: str = ".+", interval: str = "1m") -> str:
    """PromQL with the variables of a dashboard replaced.

    Args:
        expression: Of a panel.
        namespace: Regular expression.
        chatcluster: Regular expression.
        interval: Over which rates are computed; in Grafana at least four scrapes.
    """
    for variable, value in (
        ("$__rate_interval", interval),
        ("$__range", "1h"),
        ("$namespace", namespace),
        ("$chatcluster", chatcluster),
    ):
        expression = expression.replace(variable, value)
    return expression


def queries() -> Iterator[tuple[str, str]]:
    """Each query of each panel: a name, such as `overview / Ready / demo`, and its expression with the variables."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                yield f"{dashboard.name} / {panel.title} / {query.legend}", query.expression


def without_data(prometheus: Prometheus, asked: Iterable[tuple[str, str]], chatcluster: str) -> list[tuple[str, str]]:
    """Those queries that have no value now for one chat, as a panel would show it; NaN is none.

    Raises:
        AssertionError: Prometheus refuses one of them.
    """
    return [
        (name, expression)
        for name, expression in asked
        if all(
            math.isnan(sample.value)
            for sample in prometheus.query(substituted(expression, chatcluster=chatcluster, interval="30s"))
        )
    ]


AFTER_EVENTS = ("chatcluster_drain_seconds_bucket", "chatcluster_rotation_seconds_bucket")
"""Histograms that stay empty until a server drains, or a password is replaced."""


def chosen(of: Callable[[str], bool]) -> list[tuple[str, str]]:
    """The queries for whose expression a condition holds."""
    return [(name, expression) for name, expression in queries() if of(expression)]


def of_the_operator(expression: str) -> bool:
    """Whether a query needs the operator's metrics; the recorded series of objectives come from the chat's."""
    return "chatcluster_" in expression.replace("chatcluster_slo:", "")
