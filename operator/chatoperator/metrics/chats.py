"""The series of each ChatCluster: one record a ChatCluster, so that all of them disappear with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from chatoperator.metrics.prometheus import family, register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from chatoperator.metrics.prometheus import Metric

Key = tuple[str, str]
"""(namespace, name) of a ChatCluster."""

Values = tuple[tuple[str, ...], float]
"""The values of a metric's own labels, and its value."""


class ConditionSeries(NamedTuple):
    """A condition as it is exported; `since` is when its status changed, in Unix seconds."""

    type: str
    status: str
    reason: str
    since: float


@dataclass(frozen=True)
class Figures:
    """What the last reconcile reported.

    Attributes:
        conditions: All that the operator makes.
        connections: Open WebSockets of all chatservers together.
        desired_replicas: Of the chatservers; None while it is not known.
        replicas: By component and state (desired, ready).
        certificate_expiry: Of the certificate that HAProxy is to serve, in Unix seconds; None while there is none.
    """

    conditions: tuple[ConditionSeries, ...] = ()
    connections: int = 0
    desired_replicas: int | None = None
    replicas: Mapping[tuple[str, str], int] = field(default_factory=dict)
    certificate_expiry: float | None = None


@dataclass
class ChatSeries:
    """Everything that is exported of one ChatCluster while it is published.

    Attributes:
        figures: None before the first report.
        errors: Reconciles that failed.
        answer_seconds: Duration of the last request through the ingress; None before it.
        answer_failures: Requests through the ingress without a good answer.
        forced_closes: Connections that chatservers closed because their drain ended.
    """

    figures: Figures | None = None
    errors: int = 0
    answer_seconds: float | None = None
    answer_failures: int = 0
    forced_closes: int = 0

    def answered(self, seconds: float, *, ok: bool) -> None:
        """Record a request through the ingress."""
        self.answer_seconds = seconds
        self.answer_failures += not ok


class _Family(NamedTuple):
    type: str
    name: str
    help: str
    labels: tuple[str, ...]
    values: Callable[[ChatSeries], Iterable[Values]]


def _of(figure: Callable[[Figures], float | None]) -> Callable[[ChatSeries], Iterable[Values]]:
    """A figure without labels of its own; none while it is not known."""

    def values(series: ChatSeries) -> Iterable[Values]:
        value = None if series.figures is None else figure(series.figures)
        return [] if value is None else [((), value)]

    return values


def _ready(figures: Figures) -> float:
    return any(one.type == "Ready" and one.status == "True" for one in figures.conditions)


def _conditions(series: ChatSeries) -> Iterable[Values]:
    shown = series.figures.conditions if series.figures else ()
    return [((one.type, one.status, one.reason), 1) for one in shown]


def _since(series: ChatSeries) -> Iterable[Values]:
    return [((one.type,), one.since) for one in (series.figures.conditions if series.figures else ())]


def _replicas(series: ChatSeries) -> Iterable[Values]:
    return list(series.figures.replicas.items()) if series.figures else ()


FAMILIES = (
    _Family("gauge", "chatcluster_ready", "1 if the condition Ready is True, else 0", (), _of(_ready)),
    _Family(
        "gauge",
        "chatcluster_condition",
        "1 for the status and reason that a condition has now; other statuses have no series",
        ("type", "status", "reason"),
        _conditions,
    ),
    _Family(
        "gauge",
        "chatcluster_condition_since_timestamp_seconds",
        "Time of the last change of a condition's status",
        ("type",),
        _since,
    ),
    _Family(
        "gauge",
        "chatcluster_certificate_expiry_timestamp_seconds",
        "Time at which the certificate that HAProxy serves expires",
        (),
        _of(lambda figures: figures.certificate_expiry),
    ),
    _Family(
        "gauge",
        "chatcluster_replicas",
        "Pods by component (chatserver, ingress, database, probe) and state (desired, ready); none for an external"
        " database and for a probe that is not enabled",
        ("component", "state"),
        _replicas,
    ),
    _Family(
        "gauge",
        "chatcluster_desired_replicas",
        "Desired number of chatservers",
        (),
        _of(lambda figures: figures.desired_replicas),
    ),
    _Family(
        "gauge",
        "chatcluster_connections",
        "Open WebSocket connections of all chatservers together",
        (),
        _of(lambda figures: figures.connections),
    ),
    _Family(
        "gauge",
        "chatcluster_answer_seconds",
        "Duration of the operator's last request through the ingress, which it sends every 4 s; "
        "of one that failed, the time until it failed",
        (),
        lambda series: [] if series.answer_seconds is None else [((), series.answer_seconds)],
    ),
    _Family(
        "counter",
        "chatcluster_answer_failures",
        "Requests of the operator through the ingress without a good answer",
        (),
        lambda series: [((), series.answer_failures)],
    ),
    _Family(
        "counter",
        "chatcluster_reconcile_errors",
        "Reconciles that failed and are retried",
        (),
        lambda series: [((), series.errors)],
    ),
    _Family(
        "counter",
        "chatcluster_drain_forced_closes",
        "Connections that chatservers closed because their drain ended before the clients had moved",
        (),
        lambda series: [((), series.forced_closes)],
    ),
)

_published: dict[Key, ChatSeries] = {}


def publish(key: Key, series: ChatSeries) -> None:
    """Export a ChatCluster's series from now on."""
    _published[key] = series


def withdraw(key: Key, series: ChatSeries) -> None:
    """Export them no longer, whatever a reconcile that still runs records in them."""
    if _published.get(key) is series:
        del _published[key]


def count_error(key: Key) -> None:
    """Count a reconcile that failed; of a ChatCluster that is not published there is nothing to count."""
    series = _published.get(key)
    if series is not None:
        series.errors += 1


class _Collector:
    """Makes the metrics at each scrape, in the thread of the page."""

    def collect(self) -> Iterator[Metric]:
        """All series of all published ChatClusters."""
        # A copy in one step: the event loop publishes and withdraws meanwhile.
        return _made(list(_published.items()))

    def describe(self) -> Iterator[Metric]:
        """The metrics without series."""
        return _made([])


def _made(published: list[tuple[Key, ChatSeries]]) -> Iterator[Metric]:
    for one in FAMILIES:
        metric = family(one.type, one.name, one.help, ("namespace", "name", *one.labels))
        for key, series in published:
            for labels, value in one.values(series):
                metric.add_metric((*key, *labels), value)
        yield metric


register(_Collector())
