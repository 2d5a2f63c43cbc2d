"""The queries of the dashboards as Grafana would send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitoring.dashboards.__main__ import DASHBOARDS

if TYPE_CHECKING:
    from collections.abc import Iterator


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
