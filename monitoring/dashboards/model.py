"""Dashboards as data: what is shown, and why; `grafana.py` renders it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = 24
"""Width of Grafana's grid."""

RUNBOOKS = "docs/runbooks/"
"""Prefix of the links to runbooks; the chart's template puts `monitoring.rules.runbookUrl` in its place."""


class Kind(StrEnum):
    """How a panel shows its series."""

    TIMESERIES = "timeseries"
    STAT = "stat"
    TABLE = "table"


class Unit(StrEnum):
    """Grafana's names of the units that are in use."""

    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    COUNT = "short"
    MESSAGES_PER_SECOND = "mps"
    PER_SECOND = "cps"
    RATIO = "percentunit"
    REQUESTS_PER_SECOND = "reqps"
    SECONDS = "s"
    UNIX_MILLISECONDS = "dateTimeFromNow"


class Color(StrEnum):
    """Of thresholds and of values with a meaning, by Grafana's names."""

    GOOD = "green"
    WARNING = "orange"
    BAD = "red"
    OTHER = "blue"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and how its series are called.

    Attributes:
        expression: With Grafana's variables, such as `$chatcluster`.
        legend: With labels in double braces, such as `{{pod}}`; in a table: the title of the column of its values.
    """

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """From this value on a panel shows a colour."""

    value: float
    color: Color


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: A few words.
        shows: What it shows, one or two sentences.
        normal: What is normal, or what to conclude, one or two sentences.
        unit: Of its values.
        queries: At least one.
        kind: How it is drawn.
        alerts: Those that look at the same; the panel links their runbooks.
        thresholds: Only where a limit exists; ascending. Below the first: good.
        falling: Whether small values are the bad ones, as of a budget that is left.
        values: Text and colour of single values, such as `{0: ("not ready", Color.BAD)}`.
        width: In columns of the grid.
        height: In rows of the grid, 30 pixels each.
        stacked: Whether the series add up to something.
        maximum: Of the axis, such as 1 for a ratio that cannot exceed it.
        reaches: Up to where the axis goes at least: small values then look small.
        colors: Of single series, by their legends.
        logarithmic: Whether the axis is, for latencies that are milliseconds or seconds.
        decimals: Of the values; None: as Grafana finds fit.
        units: Of single columns of a table, by their titles.
        empty: What is shown when there are no series, which is then normal.
    """

    title: str
    shows: str
    normal: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = Kind.TIMESERIES
    alerts: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    falling: bool = False
    values: Mapping[int, tuple[str, Color]] = field(default_factory=dict)
    width: int = 8
    height: int = 8
    stacked: bool = False
    maximum: float | None = None
    reaches: float | None = None
    colors: Mapping[str, Color] = field(default_factory=dict)
    logarithmic: bool = False
    decimals: int | None = None
    units: Mapping[str, Unit] = field(default_factory=dict)
    empty: str = ""

    @property
    def description(self) -> str:
        """The text behind the panel's (i), in Markdown."""
        alerts = ", ".join(self.alerts)
        return f"{self.shows}\n\nNormal: {self.normal}" + (f"\n\nAlerts: {alerts}" if alerts else "")


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one title; their widths fill whole lines of the grid."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard.

    Attributes:
        name: Of its file, and the last part of its uid.
        title: In Grafana's list.
        description: Which question it answers.
        rows: From top to bottom, what matters most first.
    """

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def uid(self) -> str:
        """By which links find it; it stays for ever."""
        return f"chatcluster-{self.name}"

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Of all rows."""
        return tuple(panel for row in self.rows for panel in row.panels)
